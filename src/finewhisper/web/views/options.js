// What is asked of the engine: language, task, script, punctuation, model.

import { byId, make } from "../dom.js";
import { LANGUAGES } from "../languages.js";
import { choose, settings } from "../settings.js";
import { languageName, spoken, t } from "../words.js";

const CHINESE = new Set(["", "zh", "yue"]);

export function initOptions() {
  const changed = () => {
    choose({
      language: byId("language").value,
      task: byId("task").value,
      model: byId("model").value,
      simplified: byId("simplified").checked,
      punctuation: byId("punctuation").checked,
    });
    renderOptions();
  };
  for (const name of ["language", "task", "model", "simplified", "punctuation"]) byId(name).addEventListener("change", changed);
}

/** @param {string[]} names of the models; a choice is shown where there is one */
export function offerModels(names) {
  byId("model").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  byId("model-field").hidden = names.length < 2;
  if (!names.includes(settings.model)) choose({ model: "" });
  renderOptions();
}

export function renderOptions() {
  const names = LANGUAGES.map((code) => [code, languageName(code)]).sort(([, one], [, other]) => one.localeCompare(other, spoken()));
  byId("language").replaceChildren(make("option", { value: "" }, t("detect")), ...names.map(([code, name]) => make("option", { value: code }, name)));
  byId("language").value = settings.language;
  byId("task").value = settings.task;
  if (settings.model) byId("model").value = settings.model;
  byId("punctuation").checked = settings.punctuation;
  byId("simplified").checked = settings.simplified;
  byId("simplified").disabled = !CHINESE.has(settings.language) || settings.task === "translate";
}

/** The options are one set of controls, which the dialog borrows. */
export const moveOptions = (place) => byId(place).append(byId("options"));
