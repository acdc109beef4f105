// Signs with a passkey: enrols a new one, and signs the statement that a page shows.
//
// A form with data-passkey="enrol" or "sign" is sent by this script. It holds what the server gave:
//     data-rp-id, data-namespace, data-seconds      whose passkeys, what for, and how long a person is waited for
//     the field "statement" (or "challenge")        the exact text that is signed
// What a passkey signs is computed here, from that text: "SSHSIG" || string namespace || string "" || string "sha512"
// || string SHA-512(text), where a string has its length before it, in four bytes.
// Before a passkey is made, the id is sent to data-check, which refuses an id that cannot be enrolled.
// All fields of the form are sent as one JSON object, with what the browser and the authenticator stated in base64url.
// The answer is a page, whose main part takes the place of this one.
"use strict";
(() => {
  // In localStorage: which passkeys of this browser are whose.
  const KNOWN = `nexus-control${document.body.dataset.root || ""}:passkeys`;
  const UTF8 = new TextEncoder();
  let busy = false;
  let pending = null; // a new passkey whose proof did not come about: it is not made twice

  const TEXTS = {
    NotAllowedError:
      "No passkey signed. Either this was cancelled, or this device has no passkey of yours for this inbox, or PIN, finger or face were not accepted. Nothing was sent. Try again; who has no passkey yet enrols one first.",
    InvalidStateError: "This device has a passkey of yours for this inbox already. Nothing was made.",
    OperationError: "Your browser still waits for an answer to an earlier question about a passkey. Answer or close that one, then try again.",
    SecurityError:
      "Your browser uses no passkey at this address: it must be the inbox's own name, never an IP address. Open the address that nexus-control inbox printed.",
    TimeoutError: "Nobody answered your browser's question in time. Nothing was sent. Try again.",
    NetworkError: "The inbox could not be reached, so it is not known whether this arrived. Reload the page to see what is true now.",
    NotSupportedError: "This device cannot make a passkey of the kind that the inbox takes (ES256, verified by PIN, finger or face).",
  };
  const NOT_REACHED = "The inbox could not be reached. Try again.";
  const TOO_OLD =
    "This browser is too old to enrol a passkey here. Nothing was made. Use a newer browser, or another device.";
  const NO_PASSKEYS =
    "This page cannot use passkeys, because your browser has none or the address is not secure. Open the inbox by https, or on this machine as http://localhost.";

  const joined = (...parts) => new Uint8Array(parts.flatMap((part) => [...part]));
  const string = (octets) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, octets.length);
    return joined(length, octets);
  };
  const toBase64url = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const fromBase64url = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));

  async function toBeSigned(namespace, text) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", UTF8.encode(text)));
    const parts = [UTF8.encode(namespace), new Uint8Array(), UTF8.encode("sha512"), digest];
    return joined(UTF8.encode("SSHSIG"), ...parts.map(string));
  }

  function known() {
    try {
      const found = JSON.parse(localStorage.getItem(KNOWN));
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  }

  function idsOf(person) {
    const ids = known()[person];
    return Array.isArray(ids) ? ids.map((id) => ({ type: "public-key", id: fromBase64url(id) })) : [];
  }

  function remember(person, id) {
    const all = known();
    all[person] = [...new Set([...(Array.isArray(all[person]) ? all[person] : []), id])];
    try {
      localStorage.setItem(KNOWN, JSON.stringify(all));
    } catch {
      // Without it the person picks among all passkeys of this inbox.
    }
  }

  // A browser without an authenticator may never answer, so the limit is ours, and comes before the browser's.
  const limitOf = (form) => Number(form.dataset.seconds) * 1000;
  const GRACE = 10_000;

  function within(limit, ask) {
    const control = new AbortController();
    let timer;
    const late = new Promise((_, refuse) => {
      timer = setTimeout(() => {
        refuse(new DOMException("", "TimeoutError"));
        control.abort();
      }, limit);
    });
    return Promise.race([ask(control.signal), late]).finally(() => clearTimeout(timer));
  }

  async function signed(form, text, ids) {
    const challenge = await toBeSigned(form.dataset.namespace, text);
    const publicKey = {
      challenge,
      rpId: form.dataset.rpId,
      userVerification: "required",
      allowCredentials: ids,
      timeout: limitOf(form) + GRACE,
    };
    const { response } = await within(limitOf(form), (signal) => navigator.credentials.get({ publicKey, signal }));
    return {
      authenticator_data: toBase64url(response.authenticatorData),
      client_data: toBase64url(response.clientDataJSON),
      signature: toBase64url(response.signature),
    };
  }

  // What is shown as it is.
  class Told extends Error {}

  async function made(form, fields) {
    const needed = ["getAuthenticatorData", "getPublicKey", "getPublicKeyAlgorithm"];
    const known = window.AuthenticatorAttestationResponse?.prototype ?? {};
    if (!needed.every((name) => name in known)) throw new Told(TOO_OLD);
    const publicKey = {
      challenge: fromBase64url(fields.challenge),
      rp: { id: form.dataset.rpId, name: "nexus-control" },
      // A passkey with the same user id would silently be replaced, so it is new each time.
      user: { id: crypto.getRandomValues(new Uint8Array(32)), name: fields.person, displayName: fields.person },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      excludeCredentials: idsOf(fields.person),
      timeout: limitOf(form) + GRACE,
    };
    const credential = await within(limitOf(form), (signal) => navigator.credentials.create({ publicKey, signal }));
    const { response } = credential;
    return {
      person: fields.person,
      challenge: fields.challenge,
      id: credential.id,
      attestation: {
        authenticator_data: toBase64url(response.getAuthenticatorData()),
        client_data: toBase64url(response.clientDataJSON),
        public_key: toBase64url(response.getPublicKey()),
        algorithm: response.getPublicKeyAlgorithm(),
      },
    };
  }

  async function enrolment(form, fields) {
    if (pending === null || pending.person !== fields.person || pending.challenge !== fields.challenge) {
      pending = await made(form, fields);
    }
    say(form, "Now use the new passkey once, so that the inbox sees that it works.");
    const id = { type: "public-key", id: fromBase64url(pending.id) };
    const proof = await signed(form, fields.challenge, [id]);
    return { ...fields, attestation: pending.attestation, assertion: proof };
  }

  async function decision(form, fields) {
    // When the passkeys that this browser remembers gave nothing, the next attempt is with any other.
    const ids = form.dataset.any ? [] : idsOf(form.dataset.person);
    try {
      return { ...fields, assertion: await signed(form, fields.statement, ids) };
    } catch (fault) {
      if (fault.name === "NotAllowedError") form.dataset.any = "yes";
      throw fault;
    }
  }

  async function sent(address, body) {
    try {
      return await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "text/html" },
        body: JSON.stringify(body),
        credentials: "omit",
      });
    } catch {
      throw new DOMException("", "NetworkError");
    }
  }

  async function show(response) {
    if (response.redirected) {
      location.assign(response.url);
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const main = page.querySelector("main");
    if (main === null) throw new DOMException("", "NetworkError"); // of something between browser and inbox
    document.title = page.title;
    document.querySelector("main").replaceChildren(...main.childNodes);
    document.dispatchEvent(new CustomEvent("inbox:shown"));
    look();
    const first = document.querySelector("main [role=alert]:not(:empty)") ?? document.querySelector("main h1");
    first.tabIndex = -1;
    first.focus({ preventScroll: true });
    scrollTo({ top: 0, behavior: "instant" });
  }

  function say(form, text, problem = "") {
    form.querySelector("[role=status]").textContent = text;
    form.querySelector("[role=alert]").textContent = problem;
  }

  function told(fault, isSent) {
    if (fault instanceof Told) return fault.message;
    if (isSent) return TEXTS.NetworkError;
    if (fault.name === "NetworkError") return NOT_REACHED;
    return TEXTS[fault.name] ?? `Your browser gave no passkey (${fault.name}: ${fault.message}). Nothing was sent. Try again, or use another browser.`;
  }

  async function run(form) {
    if (busy) return;
    busy = true;
    const fields = Object.fromEntries(new FormData(form));
    const isNew = form.dataset.passkey === "enrol", rpId = form.dataset.rpId;
    let isSent = false;
    try {
      if (location.hostname !== rpId && !location.hostname.endsWith(`.${rpId}`)) throw new DOMException("", "SecurityError");
      if (isNew) {
        say(form, "The inbox looks at your id.");
        const checked = await sent(form.dataset.check, { person: fields.person });
        if (!checked.ok) return await show(checked);
      }
      say(form, "Your browser asks for your passkey now.");
      const body = await (isNew ? enrolment : decision)(form, fields);
      say(form, "Signed. The inbox checks it.");
      isSent = true;
      const response = await sent(form.action, body);
      if (isNew && response.ok) remember(pending.person, pending.id);
      if (isNew) pending = null;
      await show(response);
    } catch (fault) {
      say(form, "", told(fault, isSent));
    } finally {
      busy = false;
    }
  }

  function look() {
    const usable = isSecureContext && "PublicKeyCredential" in window && navigator.credentials !== undefined;
    const said = document.querySelector("main [data-said]");
    if (said) said.focus();
    for (const form of document.querySelectorAll("form[data-passkey]")) {
      form.hidden = false;
      if (!usable) say(form, "", NO_PASSKEYS);
    }
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-passkey]")) return;
    event.preventDefault();
    if (isSecureContext && navigator.credentials !== undefined) run(form);
    else say(form, "", NO_PASSKEYS);
  });
  document.addEventListener("inbox:fresh", look);
  look();
})();
