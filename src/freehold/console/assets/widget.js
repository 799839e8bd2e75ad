// Freehold's chat widget: <script src="…/widget.js" data-deployment="NAME" data-key="fh_…" defer></script>
// More: data-title, data-greeting, data-placeholder, data-accent (a colour), data-side ("left"), data-open.
// Everything stands in a shadow root, so that the page's style and the widget's leave each other alone; a page may set
// --freehold-accent, --freehold-paper, --freehold-ink and --freehold-width on freehold-chat.
(() => {
  const script = document.currentScript;
  const { deployment, key } = script.dataset;
  const house = new URL(script.src).origin;
  const words = {
    title: script.dataset.title || "Chat",
    greeting: script.dataset.greeting || "",
    placeholder: script.dataset.placeholder || "Write a message",
    failed: script.dataset.failed || "No answer came. Try again in a moment.",
    busy: script.dataset.busy || "Too many questions at once. Try again in a minute.",
  };
  const STYLE = `
    :host { --accent: var(--freehold-accent, #0b6e4f); --paper: var(--freehold-paper, light-dark(#fff, #1d2125)); --ink: var(--freehold-ink, light-dark(#1b1f24, #e8eaed));
      position: fixed; inset-block-end: 20px; inset-inline-end: 20px; z-index: 2147483000; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); }
    :host([data-side="left"]) { inset-inline: 20px auto; }
    * { box-sizing: border-box; font: inherit; }
    button { cursor: pointer; border: 0; border-radius: 22px; background: var(--accent); color: #fff; padding: 10px 18px; font-weight: 600; }
    button:focus-visible, textarea:focus-visible { outline: 3px solid #56b4e9; outline-offset: 2px; }
    button[disabled] { opacity: .55; }
    section { display: flex; flex-direction: column; width: min(var(--freehold-width, 360px), calc(100vw - 40px)); height: min(520px, calc(100vh - 40px)); background: var(--paper); border: 1px solid #8884; border-radius: 14px; overflow: hidden; box-shadow: 0 8px 30px #0004; }
    [hidden] { display: none; }
    header { display: flex; justify-content: space-between; align-items: center; padding: 10px 14px; background: var(--accent); color: #fff; }
    h2 { margin: 0; font-size: 1rem; font-weight: 700; }
    header button { padding: 4px 10px; background: #0003; }
    [role=log] { flex: 1; overflow-y: auto; padding: 12px; }
    p { margin: 0 0 9px; padding: 8px 12px; border-radius: 12px; background: #8882; white-space: pre-wrap; overflow-wrap: anywhere; width: fit-content; max-width: 88%; }
    p.me { background: var(--accent); color: #fff; margin-inline-start: auto; }
    p.wrong { background: #a4262c; color: #fff; }
    form { display: flex; gap: 8px; padding: 10px; border-block-start: 1px solid #8884; align-items: end; }
    textarea { flex: 1; resize: none; min-width: 0; border: 1px solid #888; border-radius: 10px; padding: 8px; background: transparent; color: inherit; }
    .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }`;

  class FreeholdChat extends HTMLElement {
    #said = [];

    connectedCallback() {
      if (this.shadowRoot) return;
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      this.opener = this.#make("button", { type: "button", textContent: words.title, ariaHasPopup: "dialog", ariaExpanded: "false" });
      this.panel = this.#make("section", { role: "dialog", ariaLabel: words.title, hidden: true });
      const head = this.#make("header", {});
      const close = this.#make("button", { type: "button", textContent: "×", ariaLabel: "Close" });
      head.append(this.#make("h2", { textContent: words.title }), close);
      this.log = this.#make("div", { role: "log", ariaLive: "polite", tabIndex: 0, ariaLabel: words.title });
      this.form = this.#make("form", {});
      this.field = this.#make("textarea", { rows: 2, placeholder: words.placeholder, ariaLabel: words.placeholder, dir: "auto", maxLength: 4000 });
      this.button = this.#make("button", { textContent: "➤", ariaLabel: "Send" });
      this.form.append(this.field, this.button);
      this.panel.append(head, this.log, this.form);
      root.append(this.opener, this.panel);
      if (words.greeting) this.#show(words.greeting);
      this.opener.addEventListener("click", () => this.toggle(true));
      close.addEventListener("click", () => this.toggle(false));
      this.panel.addEventListener("keydown", (event) => { if (event.key === "Escape") this.toggle(false); });
      this.field.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.form.requestSubmit(); }
      });
      this.form.addEventListener("submit", (event) => { event.preventDefault(); this.#ask(); });
      if ("open" in script.dataset) this.toggle(true);
    }

    toggle(open) {
      this.panel.hidden = !open;
      this.opener.hidden = open;
      this.opener.ariaExpanded = String(open);
      (open ? this.field : this.opener).focus();
    }

    #make(name, values) {
      const made = document.createElement(name);
      for (const [each, value] of Object.entries(values)) {
        if (each === "role") made.setAttribute("role", value);
        else made[each] = value;
      }
      return made;
    }

    #show(text, kind = "") {
      const shown = this.#make("p", { textContent: text, className: kind, dir: "auto" });
      this.log.append(shown);
      this.log.scrollTop = this.log.scrollHeight;
      return shown;
    }

    async #ask() {
      const text = this.field.value.trim();
      if (!text || this.button.disabled) return;
      this.field.value = "";
      this.button.disabled = true;
      this.#show(text, "me");
      this.#said.push({ role: "user", content: text });
      const shown = this.#show("…");
      try {
        const heard = await this.#answer((so_far) => { shown.textContent = so_far; this.log.scrollTop = this.log.scrollHeight; });
        this.#said.push({ role: "assistant", content: heard });
      } catch (problem) {
        this.#said.pop();
        shown.className = "wrong";
        shown.textContent = problem.message === "busy" ? words.busy : words.failed;
        console.warn(`freehold widget for ${deployment}: ${problem.message}`);
      }
      this.button.disabled = false;
      this.field.focus();
    }

    async #answer(show) {
      const answer = await fetch(`${house}/widget/chat`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify({ messages: this.#said.slice(-20) }),
        credentials: "omit",
      });
      if (answer.status === 429) throw new Error("busy");
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error?.message || `status ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "", heard = "", done = false;
      for (;;) {
        const piece = await reader.read();
        if (piece.done) break;
        const events = (rest + piece.value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const said = JSON.parse(event.slice(6));
          if (said.error) throw new Error(said.error);
          if (said.text) show(heard += said.text);
          done ||= Boolean(said.done);
        }
      }
      if (!done) throw new Error("the answer broke off");
      return heard;
    }
  }

  if (!customElements.get("freehold-chat")) customElements.define("freehold-chat", FreeholdChat);
  const place = () => {
    const chat = document.createElement("freehold-chat");
    if (script.dataset.side) chat.dataset.side = script.dataset.side;
    if (script.dataset.accent) chat.style.setProperty("--freehold-accent", script.dataset.accent);
    document.body.append(chat);
  };
  if (document.body) place();
  else addEventListener("DOMContentLoaded", place);
})();
