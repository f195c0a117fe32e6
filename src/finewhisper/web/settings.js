// What the user has chosen, kept in the browser. The API key only where the user says so.

const PLACE = "finewhisper.settings";
const DEFAULTS = {
  interface: "", // "en", "zh", "" as the browser
  theme: "", // "light", "dark", "" as the system; theme.js reads it before anything is drawn
  language: "", // spoken language, "" is detected
  task: "transcribe",
  simplified: false,
  punctuation: true,
  model: "", // "" is the server's first
  singleKeys: true,
  keepKey: false,
  key: "",
};

function load() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") };
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = load();

/** Change some of them; those that may be kept are written. */
export function choose(changes) {
  Object.assign(settings, changes);
  const kept = settings.keepKey ? settings : { ...settings, key: "" };
  try {
    localStorage.setItem(PLACE, JSON.stringify(kept));
  } catch {
    // the browser keeps nothing: they hold until the page is closed
  }
}

/** What an engine is asked for. */
export const wish = () => ({
  model: settings.model,
  language: settings.language,
  task: settings.task,
  simplified: settings.simplified,
  punctuation: settings.punctuation,
});
