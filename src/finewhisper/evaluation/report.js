"use strict";
(() => {
  const { rows, baseline } = JSON.parse(document.getElementById("data").textContent);
  const [EQUAL, SUBSTITUTE, DELETE, INSERT] = [0, 1, 2, 3];
  const PAGE = 50;
  const byId = (id) => document.getElementById(id);
  const list = byId("list");
  let chosen = [];
  let shown = 0;

  const element = (tag, style, ...children) => {
    const made = document.createElement(tag);
    if (style) made.className = style;
    made.append(...children);
    return made;
  };

  // Rates and orders

  const rate = (row, errors) => (row.units ? (100 * errors) / row.units : errors ? Infinity : 0);
  const gain = (row) => row.before.errors - row.errors;
  const descending = (...keys) => (a, b) => {
    for (const key of keys) {
      const [x, y] = [key(a), key(b)];
      if (x !== y) return y > x ? 1 : -1;
    }
    return a.line - b.line;
  };
  const errors = (row) => row.errors;
  const orders = {
    worst: descending((row) => rate(row, row.errors), errors),
    errors: descending(errors),
    improved: descending((row) => gain(row), errors),
    worsened: descending((row) => -gain(row), errors),
    long: descending((row) => row.s),
    short: descending((row) => -row.s),
    line: descending(),
  };
  const kinds = {
    all: () => true,
    wrong: (row) => row.errors > 0,
    right: (row) => row.errors === 0,
    silence: (row) => row.units === 0,
    improved: (row) => gain(row) > 0,
    worsened: (row) => gain(row) < 0,
    same: (row) => gain(row) === 0,
  };

  // One utterance

  const visible = (text, unit) => (unit === "character" ? text.replaceAll(" ", "␣") : text);

  /** The tokens of one side, its errors marked; `side` is 1 for what was said and 2 for what was heard. */
  const differences = (row, edits, side) => {
    const parts = [];
    for (const edit of edits) {
      const text = edit[side];
      if (!text) continue;
      if (parts.length && row.unit === "word") parts.push(" ");
      if (edit[0] === EQUAL) parts.push(text);
      else if (edit[0] === SUBSTITUTE) parts.push(element("mark", "", visible(text, row.unit)));
      else parts.push(element(edit[0] === DELETE ? "del" : "ins", "", visible(text, row.unit)));
    }
    return parts.length ? parts : [element("span", "nothing", side === 1 ? "nothing was said" : "nothing was heard")];
  };

  const line = (texts, label, row, children, style = "") => {
    const text = element("dd", style, ...children);
    if (row.lang) text.lang = row.lang;
    text.dir = "auto";
    texts.append(element("dt", "", label), text);
  };

  const texts = (row) => {
    const made = element("dl", "texts");
    const original = byId("original").checked;
    line(made, "said", row, differences(row, row.edits, 1));
    if (original && row.said) line(made, "", row, [row.said], "original");
    if (baseline) {
      line(made, "baseline", row, differences(row, row.before.edits, 2));
      if (original && row.before.heard) line(made, "", row, [row.before.heard], "original");
    }
    line(made, baseline ? "this model" : "heard", row, differences(row, row.edits, 2));
    if (original && row.heard) line(made, "", row, [row.heard], "original");
    return made;
  };

  const percent = (value) => (value === Infinity ? "∞" : `${Math.round(value)} %`);

  const score = (row) => {
    const made = element("div", row.errors ? "rate" : "rate none", element("b", "", percent(rate(row, row.errors))));
    const many = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;
    const text = row.units ? `${many(row.errors, "error")} in ${many(row.units, row.unit)}` : `${row.errors} inserted`;
    made.append(element("small", "", text));
    if (baseline) {
      const change = gain(row);
      const verdict = change > 0 ? "better" : change < 0 ? "worse" : "";
      const compared = change ? `${change > 0 ? "−" : "+"}${many(Math.abs(change), "error")}` : "as before";
      made.append(element("small", `delta ${verdict}`, compared));
    }
    return made;
  };

  // Audio: one element plays one clip at a time

  const audio = new Audio();
  let playing = null;

  const stop = () => {
    audio.pause();
    if (playing) playing.box.classList.remove("playing");
    playing = null;
  };
  audio.addEventListener("ended", stop);
  audio.addEventListener("timeupdate", () => {
    if (playing && audio.duration) playing.slider.value = String((100 * audio.currentTime) / audio.duration);
  });

  const play = async (row, box, slider) => {
    if (playing && playing.box === box) return stop();
    stop();
    if (audio.dataset.line !== String(row.line)) {
      audio.src = `data:audio/mpeg;base64,${row.sound}`;
      audio.dataset.line = String(row.line);
    } else if (audio.ended) audio.currentTime = 0;
    playing = { box, slider };
    box.classList.add("playing");
    try {
      await audio.play();
    } catch (problem) {
      stop();
      if (problem.name !== "AbortError") box.replaceChildren(element("small", "", `cannot be played (${problem.message})`));
    }
  };

  const player = (row) => {
    const length = element("span", "small", `${row.s.toFixed(1)} s`);
    if (!row.sound) return element("div", "player", length);
    const button = element("button");
    button.type = "button";
    button.setAttribute("aria-label", `Play or pause ${row.id}, ${row.s.toFixed(1)} seconds`);
    const slider = element("input");
    Object.assign(slider, { type: "range", min: "0", max: "100", step: "any", value: "0" });
    slider.setAttribute("aria-label", `Position in ${row.id}`);
    const box = element("div", "player", button, slider, length);
    button.addEventListener("click", () => play(row, box, slider));
    slider.addEventListener("input", () => {
      if (playing && playing.box === box && audio.duration) audio.currentTime = (audio.duration * Number(slider.value)) / 100;
    });
    return box;
  };

  const item = (row) => {
    const about = [row.id, row.label, row.speaker && `speaker ${row.speaker}`, row.detected ? `${row.lang} (detected)` : row.lang, `line ${row.line}`].filter(Boolean).join(" · ");
    return element("li", "", score(row), texts(row), player(row), element("p", "about small", about));
  };

  // The list

  const more = (count) => {
    const next = chosen.slice(shown, shown + count);
    list.append(...next.map(item));
    shown += next.length;
    byId("more").hidden = shown >= chosen.length;
    byId("count").textContent =
      `${chosen.length} of ${rows.length} utterances` + (shown < chosen.length ? `, the first ${shown} of them below` : "");
  };

  const update = () => {
    stop();
    const wanted = byId("search").value.trim().toLocaleLowerCase();
    const language = byId("language") ? byId("language").value : "";
    const matches = (row) =>
      !wanted || [row.id, row.label, row.speaker, row.said, row.heard].some((text) => text && text.toLocaleLowerCase().includes(wanted));
    chosen = rows.filter((row) => kinds[byId("show").value](row) && (!language || row.lang === language) && matches(row));
    chosen.sort(orders[byId("sort").value]);
    list.replaceChildren();
    shown = 0;
    more(PAGE);
  };

  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".filters").addEventListener("input", update);
  byId("more").addEventListener("click", () => {
    const first = shown;
    more(PAGE);
    const next = list.children[first];
    if (next) (next.querySelector("button") || byId("search")).focus();
  });
  if (byId("listen"))
    byId("listen").addEventListener("click", () => {
      byId("show").value = "silence";
      update();
      byId("utterances").scrollIntoView();
    });
  window.addEventListener("beforeprint", () => more(chosen.length));
  update();
})();
