// Light, dark, or as the system has it; the same on both pages.

const KEY = "geminifusion-theme";
const button = document.getElementById("theme");
const root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function name() {
  button.setAttribute("aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
}

button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem(KEY, root.dataset.theme);
  name();
});
name();
