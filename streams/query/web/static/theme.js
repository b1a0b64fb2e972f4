// Light, dark, or as the system has it. It runs before the page is painted, so that nobody sees
// the other one first.
(() => {
  "use strict";
  const KEY = "penstock-theme";
  const NAMES = ["auto", "light", "dark"];
  const root = document.documentElement;

  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden
    }
  };

  const keep = (name) => {
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // it lasts as long as the page, then
    }
  };

  const show = (name) => {
    root.dataset.theme = NAMES.includes(name) ? name : "auto";
    document.dispatchEvent(new Event("theme"));
  };

  show(kept());
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const text = document.getElementById("theme-text");
    const name = () => {
      text.textContent = root.dataset.theme;
      button.title =
        root.dataset.theme === "auto" ? "Colours: as the system has them" : "Colours: fixed here";
    };
    button.setAttribute("aria-describedby", "theme-text");
    button.addEventListener("click", () => {
      const next = NAMES[(NAMES.indexOf(root.dataset.theme) + 1) % NAMES.length];
      keep(next);
      show(next);
      name();
    });
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new Event("theme"));
  });
})();
