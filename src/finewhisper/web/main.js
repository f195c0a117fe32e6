// Puts the page together: what there is, what is shown, and what happens when something is asked for.

import { announce, byId, setIcon } from "./dom.js";
import { openEngine } from "./engines/engine.js";
import { Library } from "./library.js";
import { Queue } from "./queue.js";
import { choose, settings, wish } from "./settings.js";
import { initShortcuts } from "./shortcuts.js";
import { confirmAgain, confirmClear, initDialogs, openSettings, openShortcuts } from "./views/dialogs.js";
import { LiveView } from "./views/live.js";
import { clearNotices, renderNotices, toast, warn } from "./views/notices.js";
import { initOptions, offerModels, renderOptions } from "./views/options.js";
import { RecordingView } from "./views/recording.js";
import { Sidebar } from "./views/sidebar.js";
import { best, label, speak, spoken, t } from "./words.js";

const library = await Library.open();
const engine = await openEngine({ key: () => settings.key });
const queue = new Queue(library, engine);
const recording = new RecordingView(library, queue, { remove, again, enterKey: () => openSettings("key") });
const live = new LiveView(engine, keepTake);
const sidebar = new Sidebar(library, remove);

// What is shown

function show() {
  const id = live.on ? null : (library.get(location.hash.slice(1))?.id ?? null);
  byId("live").hidden = !live.on;
  byId("recording").hidden = id === null;
  byId("home").hidden = live.on || id !== null;
  recording.show(id);
  sidebar.render(id ?? undefined);
  document.title = id ? `${library.get(id).name} – ${t("title")}` : t("title");
}

/** Everything that has words or colours. */
function renderAll() {
  speak(best(settings.interface));
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
  const dark = isDark();
  setIcon(byId("switch-theme"), dark ? "sun" : "moon");
  label(byId("switch-theme"), t(dark ? "toLight" : "toDark"));
  byId("switch-language").textContent = t("toChinese");
  byId("switch-language").lang = spoken() === "zh" ? "en" : "zh-Hans";
  byId("privacy").textContent = t("privacy", location.host);
  renderOptions();
  renderNotices();
  live.render();
  recording.render(true);
  recording.player.redraw();
  show();
}

const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (settings.theme ? settings.theme === "dark" : system.matches);

/** Shown at once, not when the browser tells of the new address: the focus may be about to go there. */
function go(id) {
  if (location.hash.slice(1) !== id) location.hash = id;
  show();
}

// What can be asked for

/** @param {Iterable<File>} files */
async function addFiles(files) {
  const added = [];
  for (const file of files) {
    added.push(await library.add({ name: file.name, video: file.type.startsWith("video/"), wish: wish() }, file));
  }
  for (const { id } of added) queue.add(id);
  if (added.length) go(added[0].id);
}

async function startRecording() {
  if (live.on) return;
  const started = live.start();
  show();
  await started;
  show();
  if (live.on) byId("stop-recording").focus();
}

async function keepTake(known, sound) {
  if (!known) return show();
  const { id, state, name } = await library.add(known, sound);
  if (state === "waiting") queue.add(id);
  else announce(t("announceDone", name));
  open(id);
  return undefined;
}

async function remove(id) {
  const { name, state } = library.get(id);
  const shown = recording.id === id;
  const inside = byId("recording").contains(document.activeElement);
  queue.stop(id);
  const undo = await library.remove(id);
  if (shown) go("");
  if (shown && inside) byId("record").focus({ preventScroll: true });
  toast(t("deleted", name), [t("undo"), undone]);

  async function undone() {
    await undo();
    if (state === "waiting" || state === "working") queue.add(id);
    if (shown && recording.id === null && !live.on) open(id);
    else sidebar.focus(id);
  }
}

function open(id) {
  go(id);
  byId("recording-title").focus({ preventScroll: true });
}

async function again(id) {
  if (await confirmAgain()) queue.add(id, wish());
}

async function clear() {
  if (!(await confirmClear())) return;
  for (const { id } of library.all) queue.stop(id);
  await library.clear();
  go("");
  byId("new").focus();
}

function newOne() {
  if (live.on) return;
  go("");
  byId("record").focus({ preventScroll: true });
}

// Everything is connected

function told(id) {
  const found = library.get(id);
  if (!found) queue.stop(id); // another tab may have deleted it
  if (!found && id === recording.id) go("");
  if (id === recording.id && found) recording.render();
  sidebar.render(recording.id ?? undefined);
  if (found) milestones(found);
}

const said = new Map();

/** Screen readers hear beginning, middle and end, not every change. */
function milestones({ id, name, state, progress }) {
  const half = state === "working" && progress?.phase === "hear" && progress.fraction >= 0.5;
  const key = { done: "announceDone", failed: "announceFailed" }[state] ?? (half ? "announceHalf" : state === "working" ? "announceStart" : null);
  if (key && said.get(id) !== key && (said.has(id) || key === "announceStart")) announce(t(key, name));
  if (key) said.set(id, key);
}

function acceptDrops() {
  let inside = 0;
  const held = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  const cover = (count) => {
    inside = Math.max(0, count);
    byId("dropping").hidden = inside === 0;
  };
  addEventListener("dragenter", (event) => held(event) && cover(inside + 1));
  addEventListener("dragleave", (event) => held(event) && cover(inside - 1));
  addEventListener("dragover", (event) => held(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!held(event)) return;
    event.preventDefault();
    cover(0);
    if (!live.on) addFiles(event.dataTransfer.files);
  });
  addEventListener("paste", ({ clipboardData }) => clipboardData?.files.length && !live.on && addFiles(clipboardData.files));
}

let triedKey = "";

async function findModels() {
  triedKey = settings.key;
  clearNotices();
  try {
    offerModels(await engine.models());
  } catch (problem) {
    if (problem.code === "model") return; // an engine without names has one model
    warn(problem, problem.code === "key" ? [["enterKey", () => openSettings("key")]] : []);
  }
}

library.addEventListener("change", ({ detail }) => told(detail));
library.addEventListener("stop", ({ detail }) => queue.stop(detail));
library.addEventListener("resume", ({ detail }) => queue.add(detail));
library.addEventListener("full", () => warn({ code: "full" }));
addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
});
addEventListener("online", () => {
  for (const { id, state, problem } of library.all) if (state === "failed" && problem?.code === "offline") queue.add(id);
});
system.addEventListener("change", renderAll);
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the address says which recording is shown
  byId("main").focus();
};
byId("settings-dialog").addEventListener("close", () => settings.key !== triedKey && findModels());
byId("record").onclick = startRecording;
byId("choose").onclick = () => byId("files").click();
byId("files").onchange = async ({ target }) => {
  await addFiles([...target.files]);
  target.value = "";
};
byId("new").onclick = newOne;
byId("delete-all").onclick = clear;
byId("switch-theme").onclick = () => (choose({ theme: isDark() ? "light" : "dark" }), renderAll());
byId("switch-language").onclick = () => (choose({ interface: spoken() === "zh" ? "en" : "zh" }), renderAll());
initOptions();
initDialogs(renderAll);
acceptDrops();

const inRecording = (action) => () => recording.id !== null && action(); // false elsewhere: keys scroll as they do on any page
const step = (count) => () => {
  const start = recording.segments.neighbour(count);
  if (start === undefined) return false;
  recording.player.seek(start);
  return true;
};
initShortcuts({
  " ": inRecording(() => recording.player.toggle()),
  ArrowLeft: inRecording(() => recording.player.skip(-5)),
  ArrowRight: inRecording(() => recording.player.skip(5)),
  ArrowUp: inRecording(step(-1)),
  ArrowDown: inRecording(step(1)),
  e: inRecording(() => recording.segments.editCurrent()),
  c: inRecording(() => recording.copy()),
  r: () => (live.on ? live.stop() : startRecording()),
  u: () => !live.on && byId("files").click(),
  n: newOne,
  "?": openShortcuts,
});

renderAll();
document.documentElement.dataset.ready = "";
const claimed = await library.claims.all();
for (const { id, state } of library.all) if (state === "waiting" && !claimed.has(id)) queue.add(id);
await findModels();
if (!library.keeps) warn({ code: "storage" });
