// What assistive technology needs, computed on what is shown: a list of faults.
(() => {
  const faults = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true });
  const place = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""} “${element.textContent.trim().slice(0, 40)}”`;

  // Names
  const controls = "button, a[href], input:not([type=file]), select, textarea, summary, [role=slider], [role=textbox], canvas[role], dialog[open], nav, section, main [role]";
  for (const element of document.querySelectorAll(controls)) {
    if (!shown(element)) continue;
    const by = element.getAttribute("aria-labelledby");
    const names = [
      element.getAttribute("aria-label"),
      by && by.split(" ").map((id) => document.getElementById(id)?.textContent).join(" "),
      [...(element.labels ?? [])].map((label) => label.textContent).join(" "),
      /^(BUTTON|A|SUMMARY)$/.test(element.tagName) && element.textContent,
    ];
    if (!names.some((name) => name && name.trim()) && !/alert|log|status/.test(element.getAttribute("role") ?? "")) faults.push(`no name: ${place(element)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`two of ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(" ")) if (!document.getElementById(id)) faults.push(`${name} ${id} is nowhere`);
    }
  }
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length < 1) faults.push("landmarks");

  // Contrast of text: 4.5, or 3 for large type (WCAG 2.2, 1.4.3); what cannot be used is exempt
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const over = (layers) => {
    context.clearRect(0, 0, 1, 1);
    for (const layer of layers) {
      context.fillStyle = layer;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !shown(element) || element.closest(":disabled, .switch:has(:disabled), noscript, .hidden, .skip, [inert]")) continue;
    const open = document.querySelector("dialog[open]");
    if (open && !open.contains(element)) continue;
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(element);
    const [one, other] = [luminance(over([...layers, style.color])), luminance(over(layers))].sort((a, b) => b - a);
    const size = Number.parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < least) faults.push(`contrast ${ratio.toFixed(2)}: ${place(element)}`);
  }
  return faults;
})();
