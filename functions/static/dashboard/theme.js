// Light, dark, or as the system says. Loaded by the page before anything is drawn.

const NAME = "dashboard-theme";

export const chosen = () => localStorage.getItem(NAME) ?? "";

export function choose(theme) {
  theme ? localStorage.setItem(NAME, theme) : localStorage.removeItem(NAME);
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("dashboard:theme"));
}

document.documentElement.dataset.theme = chosen();
