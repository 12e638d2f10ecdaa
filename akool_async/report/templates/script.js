"use strict";
// Names of languages as this browser knows them; without script their codes are shown.
const names = new Intl.DisplayNames(["en"], {type: "language"});
function languageName(code) {
  try { return names.of(code) || code; } catch { return code; }
}
for (const one of document.querySelectorAll("[data-language]")) {
  const name = languageName(one.dataset.language);
  one.textContent = one.tagName === "OPTION" && name !== one.dataset.language ? `${name} (${one.dataset.language})` : name;
  if (one.tagName !== "OPTION") one.title = one.dataset.language;
}

// Search and filters. A page without data leaves them to the page that the form leads to.
const form = document.querySelector(".filters");
const data = document.getElementById("data");
if (form && !data) {
  for (const choice of form.querySelectorAll("select")) choice.addEventListener("change", () => form.requestSubmit());
}
if (form && data) {
  const found = JSON.parse(data.textContent);
  const body = document.getElementById("rows");
  const more = document.getElementById("more");
  const folded = (text) => text.normalize("NFKC").toLowerCase();
  const texts = found.rows.map((row) => folded(`${row[0]} ${found.reasons[row[7]]} ${row[8]}`));
  const size = 200;
  let first = 0;
  const cell = (name, label, ...content) => {
    const made = document.createElement(name);
    if (label) made.dataset.label = label;
    made.append(...content);
    return made;
  };
  const span = (text, classes) => {
    const made = cell("span", "", text);
    made.className = classes;
    return made;
  };
  // Texts are put in as text nodes, so that none of them is taken for markup.
  const line = ([label, language, state, page, credits, submitted, expires, reason]) => {
    const row = document.createElement("tr");
    const link = document.createElement("a");
    link.href = found.pages[page];
    link.append(cell("bdi", "", label));
    const head = cell("th", "", link);
    head.scope = "row";
    const code = found.languages[language];
    const number = cell("td", "Credits", credits === null ? "" : credits);
    number.className = "number";
    const text = cell("span", "", found.reasons[reason]);
    text.dir = "auto";
    const why = cell("td", "Reason", ...(found.reasons[reason] ? [text] : []));
    why.className = "reason";
    row.append(head, cell("td", "Language", span(code ? languageName(code) : "lip-sync", "language")),
      cell("td", "State", span(found.states[state][0], `state ${found.states[state][1]}`)), number,
      cell("td", "Submitted", submitted), cell("td", "Expires", expires), why);
    return row;
  };
  const show = () => {
    const words = folded(form.q.value).split(/\s+/).filter(Boolean);
    const hits = found.rows.filter((row, number) =>
      words.every((word) => texts[number].includes(word)) &&
      (!form.state.value || found.states[row[2]][0] === form.state.value) &&
      (!form.language.value || (found.languages[row[1]] || "lip-sync") === form.language.value));
    first = Math.min(first, Math.max(0, Math.floor((hits.length - 1) / size) * size));
    body.replaceChildren(...hits.slice(first, first + size).map(line));
    const number = (count) => count.toLocaleString("en");
    document.getElementById("found").textContent =
      `${number(hits.length)} of ${number(found.rows.length)} entries` +
      (hits.length > size ? `, ${number(first + 1)} to ${number(Math.min(first + size, hits.length))} shown` : "");
    if (more) {
      more.hidden = hits.length <= size;
      document.getElementById("earlier").disabled = !first;
      document.getElementById("later").disabled = first + size >= hits.length;
    }
  };
  const begin = () => { first = 0; show(); };
  const asked = new URLSearchParams(location.search);
  for (const name of ["q", "state", "language"]) if (asked.get(name)) form[name].value = asked.get(name);
  form.addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  form.addEventListener("input", begin);
  const turn = (pages) => { first += pages * size; show(); document.getElementById("main").scrollIntoView(); };
  document.getElementById("earlier")?.addEventListener("click", () => turn(-1));
  document.getElementById("later")?.addEventListener("click", () => turn(1));
  if (more || asked.size) show();
}

// Languages as tabs; without script each is a section that its link leads to.
const tabs = [...document.querySelectorAll(".tabs a")];
const panels = tabs.map((tab) => document.getElementById(tab.hash.slice(1)));
function choose(number, focus) {
  tabs.forEach((tab, place) => {
    const chosen = place === number;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    panels[place].hidden = !chosen;
    if (!chosen) panels[place].querySelector("video")?.pause();
  });
  if (focus) tabs[number].focus();
}
if (tabs.length) {
  const list = document.querySelector(".tabs");
  list.setAttribute("role", "tablist");
  tabs.forEach((tab, place) => {
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panels[place].id);
    panels[place].setAttribute("role", "tabpanel");
    panels[place].removeAttribute("aria-label");
    panels[place].setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", tab.hash);
      choose(place);
    });
  });
  list.addEventListener("keydown", (event) => {
    const now = tabs.indexOf(document.activeElement);
    const steps = {ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: tabs.length - 1};
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = (steps[event.key] + tabs.length) % tabs.length;
    history.replaceState(null, "", tabs[next].hash);
    choose(next, true);
  });
  choose(Math.max(0, tabs.findIndex((tab) => tab.hash === location.hash)));
}

// A time in the transcript moves the players; without script it opens the video there.
const original = document.getElementById("original-player");
for (const panel of document.querySelectorAll(".version-panel")) {
  const video = panel.querySelector("video");
  const transcript = panel.querySelector(".transcript");
  if (!video || !transcript) continue;
  const times = [...transcript.querySelectorAll(".time")];
  for (const time of times) time.addEventListener("click", (event) => {
    event.preventDefault();
    const seconds = Number(time.dataset.seconds);
    video.currentTime = seconds;
    video.play().catch(() => {});
    if (original && original.readyState) original.currentTime = seconds;
  });
  let current = null;
  video.addEventListener("timeupdate", () => {
    const now = times.findLast((time) => Number(time.dataset.seconds) <= video.currentTime + 0.05)?.closest("li");
    if (now === current) return;
    current?.removeAttribute("aria-current");
    current = now;
    if (!now) return;
    now.setAttribute("aria-current", "true");
    const box = transcript.getBoundingClientRect(), line = now.getBoundingClientRect();
    if (line.top < box.top || line.bottom > box.bottom) transcript.scrollTop += line.top - box.top - box.height / 3;
  });
}
