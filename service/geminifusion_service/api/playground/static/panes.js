// Canvases that show the same part of the same scene: one view (zoom, center, probed pixel) for all of them.

const MOST_ZOOM = 40;
const SHARP_FROM = 3; // screen pixels per image pixel, from which on pixels have edges

/** What all panes show. Events: "change" when they must be drawn again, "probe" when the probed pixel is another. */
export class View extends EventTarget {
  constructor() {
    super();
    this.setSize(4, 3);
  }

  /** Show an image of this size, whole. */
  setSize(width, height) {
    Object.assign(this, { width, height, probe: null });
    this.reset();
  }

  reset() {
    Object.assign(this, { zoom: 1, x: this.width / 2, y: this.height / 2 });
    this.changed();
  }

  /** Zoom by a factor about a point of the image, which stays where it is on the screen. */
  zoomAt(factor, { x, y }) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const kept = this.zoom / zoom;
    this.zoom = zoom;
    this.moveTo(x + (this.x - x) * kept, y + (this.y - y) * kept);
  }

  moveTo(x, y) {
    const [halfWidth, halfHeight] = [this.width / 2 / this.zoom, this.height / 2 / this.zoom];
    this.x = Math.min(this.width - halfWidth, Math.max(halfWidth, x));
    this.y = Math.min(this.height - halfHeight, Math.max(halfHeight, y));
    this.changed();
  }

  setProbe(probe) {
    if (probe && (probe.x < 0 || probe.y < 0 || probe.x >= this.width || probe.y >= this.height)) probe = null;
    if (probe?.x === this.probe?.x && probe?.y === this.probe?.y) return;
    this.probe = probe;
    this.changed();
    this.dispatchEvent(new Event("probe"));
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** One canvas; `draw(context)` draws in pixels of the image. */
export class Pane {
  constructor(canvas, view, draw) {
    Object.assign(this, { canvas, view, draw, pointers: new Map() });
    this.frame = 0;
    const redraw = () => this.redraw();
    view.addEventListener("change", redraw);
    const watch = new ResizeObserver(redraw);
    watch.observe(canvas);
    this.remove = () => { view.removeEventListener("change", redraw); watch.disconnect(); };
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"])
      canvas.addEventListener(name, (event) => this.onPointer(event));
    canvas.addEventListener("dblclick", () => view.reset());
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  get scale() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / this.view.width, clientHeight / this.view.height) * this.view.zoom;
  }

  paint() {
    const { canvas, view } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const scale = this.scale * ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(scale, 0, 0, scale, width / 2 - view.x * scale, height / 2 - view.y * scale);
    context.imageSmoothingEnabled = scale < SHARP_FROM;
    this.draw(context);
    if (view.probe) this.paintProbe(context, scale, ratio);
  }

  paintProbe(context, scale, ratio) {
    const [x, y] = [this.view.probe.x + 0.5, this.view.probe.y + 0.5];
    const arm = 11 * ratio / scale;
    const gap = Math.max(0.5, 3 * ratio / scale);
    context.globalAlpha = 1;
    for (const [color, width] of [["#0b0d12", 3.5], ["#ffffff", 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = width * ratio / scale;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * gap, y + dy * gap);
        context.lineTo(x + dx * (gap + arm), y + dy * (gap + arm));
      }
      context.stroke();
    }
  }

  /** The point of the image under a pointer. */
  pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: this.view.x + (event.clientX - box.left - box.width / 2) / this.scale,
      y: this.view.y + (event.clientY - box.top - box.height / 2) / this.scale,
    };
  }

  onWheel(event) {
    event.preventDefault();
    this.view.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), this.pointOf(event));
  }

  onPointer(event) {
    const { view, pointers } = this;
    if (event.type === "pointerdown") {
      this.canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
    } else if (event.type !== "pointermove") {
      pointers.delete(event.pointerId);
      return;
    }
    const before = pointers.get(event.pointerId);
    if (before && event.type === "pointermove") {
      pointers.set(event.pointerId, event);
      const others = [...pointers.values()].filter((one) => one.pointerId !== event.pointerId);
      if (others.length) {
        const distance = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
        view.zoomAt(distance(event) / Math.max(1, distance(before)), this.pointOf(others[0]));
      } else if (view.zoom > 1) {
        view.moveTo(view.x - (event.clientX - before.clientX) / this.scale, view.y - (event.clientY - before.clientY) / this.scale);
      }
    }
    const { x, y } = this.pointOf(event);
    view.setProbe({ x: Math.floor(x), y: Math.floor(y) });
  }

  onKey(event) {
    const { view } = this;
    const probe = view.probe ?? { x: Math.floor(view.x), y: Math.floor(view.y) };
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves && !event.altKey && !event.ctrlKey && !event.metaKey) {
      const [dx, dy] = view.probe ? moves[event.key] : [0, 0];
      const within = (value, most) => Math.min(most - 1, Math.max(0, value));
      const next = { x: within(probe.x + dx, view.width), y: within(probe.y + dy, view.height) };
      view.setProbe(next);
      const [left, top] = [view.width / 2 / view.zoom, view.height / 2 / view.zoom];
      if (Math.abs(next.x - view.x) > left || Math.abs(next.y - view.y) > top) view.moveTo(next.x, next.y);
    } else if (event.key === "+" || event.key === "=") view.zoomAt(1.5, probe);
    else if (event.key === "-") view.zoomAt(1 / 1.5, probe);
    else if (event.key === "0") view.reset();
    else return;
    event.preventDefault();
  }
}
