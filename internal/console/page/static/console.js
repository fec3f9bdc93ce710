// Passkeys: the only thing here that a browser cannot do without a script.
"use strict";
(() => {
  const bytes = (s) => Uint8Array.from(atob(s.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  async function ask(path, body) {
    const r = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await r.json();
    if (!r.ok) throw new Error(answer.error);
    return answer;
  }

  // What a browser wants as octets comes, and goes, in base64url.
  const ids = (list) => (list || []).map((c) => ({ ...c, id: bytes(c.id) }));

  async function show(o) {
    const c = await navigator.credentials.get({ publicKey: { ...o, challenge: bytes(o.challenge), allowCredentials: ids(o.allowCredentials) } });
    const r = c.response;
    return {
      id: c.id, rawId: text(c.rawId), type: c.type, authenticatorAttachment: c.authenticatorAttachment || undefined,
      clientExtensionResults: c.getClientExtensionResults(),
      response: {
        clientDataJSON: text(r.clientDataJSON), authenticatorData: text(r.authenticatorData), signature: text(r.signature),
        userHandle: r.userHandle ? text(r.userHandle) : undefined,
      },
    };
  }

  async function make(o) {
    const c = await navigator.credentials.create({
      publicKey: { ...o, challenge: bytes(o.challenge), user: { ...o.user, id: bytes(o.user.id) }, excludeCredentials: ids(o.excludeCredentials) },
    });
    const r = c.response;
    return {
      id: c.id, rawId: text(c.rawId), type: c.type, authenticatorAttachment: c.authenticatorAttachment || undefined,
      clientExtensionResults: c.getClientExtensionResults(),
      response: {
        clientDataJSON: text(r.clientDataJSON), attestationObject: text(r.attestationObject),
        transports: r.getTransports ? r.getTransports() : [],
      },
    };
  }

  const acts = {
    async "sign-in"(box) {
      const begun = await ask("/api/sign-in/passkey/start", {});
      await ask("/api/sign-in/passkey", { state: begun.state, response: await show(begun.options) });
      location.assign(box.dataset.next);
    },
    async confirm(box) {
      const begun = await ask("/api/confirm/passkey/start", {});
      await ask("/api/confirm/passkey", { state: begun.state, response: await show(begun.options) });
      location.assign(box.dataset.next);
    },
    async add(box) {
      const begun = await ask("/api/factors/passkey/start", {});
      const response = await make(begun.options);
      const form = box.querySelector("form");
      form.elements.state.value = begun.state;
      form.elements.response.value = JSON.stringify(response);
      form.submit(); // the page that follows shows recovery codes, or says what went wrong
    },
  };

  // What a browser says when somebody cancels tells nobody anything.
  const words = (e) => (e instanceof DOMException ? "Nothing was shown: the passkey was not found, or you cancelled. You can try again." : e.message);

  for (const box of document.querySelectorAll("[data-passkey]")) {
    if (!window.PublicKeyCredential) continue;
    box.hidden = false;
    const button = box.querySelector("button");
    const problem = box.querySelector("[role=alert]");
    const go = async (event) => {
      event.preventDefault();
      button.disabled = true;
      problem.hidden = true;
      try {
        await acts[box.dataset.passkey](box);
      } catch (e) {
        problem.textContent = words(e);
        problem.hidden = false;
        button.disabled = false;
      }
    };
    const form = box.querySelector("form");
    if (form) form.addEventListener("submit", go);
    else button.addEventListener("click", go);
  }
})();
