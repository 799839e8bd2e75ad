// What every page does beside htmx: light or dark, copying, and showing what a slider stands at.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("freehold-theme");
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme")?.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("freehold-theme", root.dataset.theme);
  });
  document.addEventListener("click", (event) => {
    const from = event.target.closest("[data-copy]");
    if (!from) return;
    navigator.clipboard?.writeText(document.getElementById(from.dataset.copy).textContent).then(() => { from.textContent = "Copied"; });
  });
  document.addEventListener("input", (event) => {
    const shown = event.target.type === "range" && document.querySelector(`output[for="${event.target.id}"]`);
    if (shown) shown.textContent = event.target.value + (shown.dataset.unit || "");
  });
})();
