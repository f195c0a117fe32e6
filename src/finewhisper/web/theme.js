// Runs before the page is drawn, so that it does not flash in the wrong colours. Not a module for that reason.
try {
  const { theme } = JSON.parse(localStorage.getItem("finewhisper.settings") ?? "{}");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // as the system
}
