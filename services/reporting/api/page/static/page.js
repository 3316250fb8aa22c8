// What the server cannot do: keep the figures moving, sort rows, switch light and dark.
"use strict";

// --- light and dark ---

const root = document.documentElement;
const kept = localStorage.getItem("theme");
if (kept) root.dataset.theme = kept;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

// --- signing in by a link: the token stands behind the #, which browsers send to nobody ---

const form = document.querySelector("form.sign-in");
if (form && location.hash.startsWith("#token=")) {
  form.elements.token.value = decodeURIComponent(location.hash.slice("#token=".length));
  history.replaceState(null, "", location.pathname + location.search);
  form.requestSubmit();
}

// --- sorting ---

const view = document.getElementById("view");
let sorted = { column: 0, ascending: false };

function sortRows() {
  const body = view.querySelector("table.account tbody");
  if (!body) return;
  const value = (row) => Number(row.cells[sorted.column].dataset.value);
  const order = (a, b) =>
    (value(a) - value(b)) * (sorted.ascending ? 1 : -1) || a.id.localeCompare(b.id);
  const rows = [...body.rows];
  const ordered = rows.toSorted(order);
  if (rows.some((row, place) => row !== ordered[place])) body.append(...ordered);
}

function sortBy(button) {
  const column = Number(button.dataset.sort);
  sorted = { column, ascending: sorted.column === column ? !sorted.ascending : false };
  for (const head of view.querySelectorAll("th[aria-sort]")) head.ariaSort = "none";
  button.closest("th").ariaSort = sorted.ascending ? "ascending" : "descending";
  sortRows();
}

// --- live ---

function age() {
  const since = view.dataset.asOf;
  if (!since) return;
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(since)) / 1000));
  document.getElementById("age").textContent = `${seconds} ${document.body.dataset.ago}`;
}

// Whoever is somewhere by keyboard stays there, though what was there is replaced.
const REACHED = "a, button, summary, [tabindex]";

function place(name, html) {
  const holder = document.createElement("template");
  const before = document.getElementById(name);
  // What is within a drawing is no element of its own outside of one.
  const drawn = before.ownerSVGElement;
  holder.innerHTML = drawn ? `<svg>${html}</svg>` : html;
  const after = (drawn ? holder.content.firstElementChild : holder.content).firstElementChild;
  // Whoever has the table of the curve open keeps it open.
  if (before.querySelector("details")?.open) after.querySelector("details").open = true;
  const focused = [...before.querySelectorAll(REACHED)].indexOf(document.activeElement);
  before.replaceWith(after);
  after.querySelectorAll(REACHED)[focused]?.focus();
}

function take(news) {
  if (news.reload) return location.reload();
  view.dataset.asOf = news.as_of;
  view.dataset.tag = news.tag;
  for (const [name, html] of Object.entries(news.parts)) place(name, html);
  if (Object.keys(news.parts).some((name) => name.startsWith("row-"))) sortRows();
  age();
}

// Where something between us and the server holds back its events, ask for one again and again; not
// everybody in the same moment, when they have all lost the server at once.
const POLL_AFTER = 10_000 + 5_000 * Math.random();

function live() {
  const lost = document.getElementById("lost");
  let heard = Date.now();
  let source;
  const address = () => `${view.dataset.stream}&tag=${encodeURIComponent(view.dataset.tag)}`;
  const listen = () => {
    source?.close();
    source = new EventSource(address());
    source.onmessage = (event) => {
      heard = Date.now();
      lost.textContent = "";
      take(JSON.parse(event.data));
    };
  };
  const look = async () => {
    lost.textContent = document.body.dataset.lost;
    source.close();
    const answer = await fetch(`${address()}&limit=1`).catch(() => null);
    const told = answer?.ok && /^data: (.*)$/m.exec(await answer.text().catch(() => ""));
    if (told) {
      lost.textContent = "";
      take(JSON.parse(told[1]));
    }
    // Nothing there any more, or not for us: the page itself says which.
    if (answer && answer.status >= 400 && answer.status < 500) location.reload();
    heard = Date.now();
    listen();
  };
  listen();
  setInterval(() => {
    age();
    if (Date.now() - heard > POLL_AFTER) {
      heard = Date.now();
      look();
    }
  }, 1000);
}

if (view) {
  for (const button of view.querySelectorAll("button[data-sort]")) {
    button.addEventListener("click", () => sortBy(button));
    if (button.closest("th").ariaSort === "descending") sorted.column = Number(button.dataset.sort);
  }
  sortRows();
  age();
  live();
}

// --- what everybody sees is made anew by the clock: it is enough to ask now and then ---

const ASK_EVERY = 60_000;

const published = document.getElementById("published");
if (published) {
  setInterval(async () => {
    const answer = await fetch(location.href, { cache: "no-cache" }).catch(() => null);
    if (answer?.ok && answer.headers.get("ETag") !== published.dataset.tag) location.reload();
  }, ASK_EVERY);
}
