// Remembers the reader's token and id in this browser, and shows changes on open pages. Every page works without it.
//
// A page that is live listens to one stream. At a change it fetches itself and takes over what is new, except while
// somebody fills in a form, or may decide: what they decide on must not change under their eyes. Then it says that the
// page has changed, and leaves the choice to them. Scripts that need to know of new content listen for "inbox:fresh" on
// the document; one that showed a page by itself says "inbox:shown".
"use strict";

const root = document.body.dataset.root || "";
const main = document.getElementById("main");
const kept = {
  read: (name) => { try { return localStorage.getItem(`nexus-control${root}:${name}`) || ""; } catch { return ""; } },
  write: (name, value) => { try { localStorage.setItem(`nexus-control${root}:${name}`, value); } catch { /* it is only forgotten */ } },
};

function goTo(changes) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) address.searchParams.set(name, value);
  location.replace(address);
}

function rememberAddress() {
  const query = new URLSearchParams(location.search);
  const token = kept.read("token");
  if ("needsToken" in main.dataset) {
    if (token && token !== query.get("token")) goTo({ token, as: query.get("as") ?? kept.read("as") });
    else if (token) kept.write("token", "");
    return;
  }
  if (query.get("token")) kept.write("token", query.get("token"));
  if (query.has("as")) kept.write("as", query.get("as"));
  else if (kept.read("as")) goTo({ as: kept.read("as") });
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function isBusy() {
  if (main.querySelector("form[data-passkey]")) return true;
  const fields = main.querySelectorAll("input:not([type=hidden]), textarea, select");
  return [...fields].some((field) => field === document.activeElement || (field.value || "") !== (field.defaultValue ?? field.value));
}

async function fetched() {
  const response = await fetch(location.href, { cache: "no-store" });
  if (!response.ok) return null;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return page.getElementById("main");
}

function show(fresh) {
  const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  main.replaceChildren(...fresh.childNodes);
  if (focused) main.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  document.dispatchEvent(new CustomEvent("inbox:fresh"));
  say("This page has changed and was updated.");
}

function offer() {
  if (document.getElementById("changed")) return;
  const notice = document.createElement("p");
  notice.id = "changed";
  notice.className = "changed";
  notice.textContent = "This page has changed. ";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Show what is new";
  button.addEventListener("click", () => location.reload());
  notice.append(button);
  main.before(notice);
  say("This page has changed.");
}

// The statement of a verdict has a time and a nonce in it, so it is never the same twice.
function contentOf(page) {
  const copy = page.cloneNode(true);
  for (const form of copy.querySelectorAll("form[data-passkey]")) form.remove();
  return copy.innerHTML;
}

let known = contentOf(main);
document.addEventListener("inbox:shown", () => {
  known = contentOf(main);
  document.getElementById("changed")?.remove();
});

async function refresh() {
  const fresh = await fetched();
  if (!fresh || contentOf(fresh) === known) return;
  if (isBusy()) { offer(); return; }
  known = contentOf(fresh);
  show(fresh);
}

function listen() {
  let due = 0;
  const stream = new EventSource(main.dataset.live);
  // A browser gives up after an answer that is no stream: of a full inbox, or of a proxy before one that starts again.
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 5000 + Math.random() * 5000);
  });
  // Also when it opens: something may have changed after this page was made, or while the stream was broken.
  for (const told of ["open", "change"]) {
    stream.addEventListener(told, () => {
      clearTimeout(due);
      due = setTimeout(() => refresh().catch(() => {}), Math.random() * 400);
    });
  }
}

rememberAddress();
if (main.dataset.live) listen();
