// A cloud of points that can be turned, in plain WebGL2; loaded when it is first looked at.

const VERTEX = `#version 300 es
in vec3 position; in vec3 color; in float shown;
uniform mat4 camera; uniform float size;
out vec3 tint;
void main() {
  gl_Position = shown > 0.5 ? camera * vec4(position, 1) : vec4(2, 2, 2, 1);
  gl_PointSize = clamp(size * position.z / gl_Position.w, 1.0, 12.0);
  tint = color;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec3 tint; out vec4 pixel;
void main() { pixel = vec4(tint, 1); }`;
const ANGLE = 0.9; // of view, vertical, in radians

export class Cloud {
  /** Null where the browser has no WebGL2. */
  static on(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, preserveDrawingBuffer: false });
    return gl && new Cloud(canvas, gl);
  }

  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, count: 0, pointers: new Map() });
    this.setUp();
    new ResizeObserver(() => this.redraw()).observe(canvas);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.setUp(); if (this.points) this.show(this.points); if (this.paint) this.color(...this.paint); });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.dolly(Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0016))); }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      canvas.addEventListener(name, (event) => this.onPointer(event));
  }

  setUp() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.uniforms = { camera: gl.getUniformLocation(program, "camera"), size: gl.getUniformLocation(program, "size") };
    this.buffers = {};
    for (const [name, size, type, scaled] of [["position", 3, gl.FLOAT, false], ["color", 3, gl.UNSIGNED_BYTE, true], ["shown", 1, gl.UNSIGNED_BYTE, false]]) {
      const at = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, scaled, 0, 0);
    }
  }

  fill(name, data) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
  }

  /** Show other points; their `focal` is the focal length of their camera in pixels. */
  show(points) {
    this.points = points;
    this.count = 0; // until they have colors
    this.fill("position", points.positions);
    const depths = Float32Array.from({ length: Math.min(points.count, 4000) }, (_, i) => points.positions[3 * Math.floor((i * points.count) / Math.min(points.count, 4000)) + 2]).sort();
    const middle = depths[depths.length >> 1] ?? 1;
    if (middle !== this.middle) { // another scene, and not another answer to this one
      this.middle = middle;
      this.reset();
    }
  }

  /** `colors` are three bytes of each point, `shown` is one: 0 hides it. */
  color(colors, shown) {
    this.paint = [colors, shown];
    this.fill("color", colors);
    this.fill("shown", shown);
    this.count = this.points.count;
    this.redraw();
  }

  reset() {
    Object.assign(this, { yaw: 0.28, pitch: 0.16, distance: this.middle * 1.25, target: [0, 0, this.middle] });
    this.redraw();
  }

  dolly(factor) {
    this.distance = Math.min(this.middle * 8, Math.max(this.middle * 0.05, this.distance * factor));
    this.redraw();
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.min(1.5, Math.max(-1.5, this.pitch + pitch));
    this.redraw();
  }

  pan(dx, dy) {
    const { right, up } = this.axes();
    this.target = this.target.map((value, i) => value - right[i] * dx + up[i] * dy);
    this.redraw();
  }

  /** Unit vectors of the camera in the points' own axes, in which y points down and z away. */
  axes() {
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    return { right: [cy, 0, -sy], up: [sy * sp, -cp, cy * sp], forward: [sy * cp, sp, cy * cp] };
  }

  onPointer(event) {
    const { pointers, canvas } = this;
    if (event.type === "pointerdown") {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      return;
    }
    const before = pointers.get(event.pointerId);
    if (event.type !== "pointermove") pointers.delete(event.pointerId);
    else if (before) {
      pointers.set(event.pointerId, event);
      const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      const metre = (2 * this.distance * Math.tan(ANGLE / 2)) / canvas.clientHeight;
      if (other) {
        const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        this.dolly(Math.max(1, apart(before)) / Math.max(1, apart(event)));
        this.pan((dx * metre) / 2, (dy * metre) / 2);
      } else if (event.buttons & 6 || event.shiftKey) this.pan(dx * metre, dy * metre);
      else this.turn(dx * 0.006, dy * 0.006);
    }
  }

  onKey(event) {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (event.key in turns) this.turn(...turns[event.key]);
    else if (event.key === "+" || event.key === "=") this.dolly(0.8);
    else if (event.key === "-") this.dolly(1.25);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  draw() {
    const { gl, canvas } = this;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.count) return;
    const { right, up, forward } = this.axes();
    const eye = this.target.map((value, i) => value - forward[i] * this.distance);
    const dot = (axis) => -axis.reduce((sum, value, i) => sum + value * eye[i], 0);
    const lens = 1 / Math.tan(ANGLE / 2);
    const aspect = width / height;
    const [near, far] = [this.middle * 0.02, this.middle * 40];
    const [a, b] = [(far + near) / (far - near), (-2 * far * near) / (far - near)];
    // Projection times view, written out; w is the distance along the line of sight.
    const rows = [[right, lens / aspect, 0], [up, lens, 0], [forward, a, b], [forward, 1, 0]].map(([axis, factor, plus]) => [...axis.map((value) => value * factor), dot(axis) * factor + plus]);
    const matrix = new Float32Array(16);
    for (let column = 0; column < 4; column++) for (let row = 0; row < 4; row++) matrix[4 * column + row] = rows[row][column];
    gl.uniformMatrix4fv(this.uniforms.camera, false, matrix);
    // A little more than the pixel it came from, so that a surface seen from the front is closed.
    gl.uniform1f(this.uniforms.size, (2 * lens * height) / 2 / this.points.focal);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }
}
