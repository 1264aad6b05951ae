// Elements, in a line each.

export const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `on…` handlers, `aria-…` and `data-…` attributes) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (/^(aria|data)-|^role$|^for$/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A color patch; its color is set by script, which the page's policy allows where it forbids `style` in markup. */
export function swatch([red, green, blue]) {
  const patch = el("i", { class: "swatch", "aria-hidden": "true" });
  patch.style.backgroundColor = `rgb(${red} ${green} ${blue})`;
  return patch;
}

export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
