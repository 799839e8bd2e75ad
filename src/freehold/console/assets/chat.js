// Side-by-side chat for the arena and the playground: each side keeps its own conversation, answers stream in.
(() => {
  const sides = [...document.querySelectorAll("[data-side]")];
  const form = document.getElementById("ask");
  if (!form || !sides.length) return;
  const csrf = JSON.parse(document.body.getAttribute("hx-headers") || "{}")["x-csrf"];
  const arena = form.dataset.arena;
  const votes = document.getElementById("votes");
  const status = document.getElementById("status");
  const histories = new Map(sides.map((side) => [side, []]));
  let bout = null;

  async function post(path, fields) {
    const answer = await fetch(path, { method: "POST", headers: { "x-csrf": csrf }, body: new URLSearchParams(fields) });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.error?.message || `this did not work (${answer.status}); load the page again`);
  }

  function turn(side, role, text) {
    const shown = document.createElement("div");
    shown.className = `turn ${role}`;
    shown.dir = "auto";
    shown.textContent = text;
    side.querySelector(".turns").append(shown);
    return shown;
  }

  async function speak(side, text) {
    const history = histories.get(side);
    history.push({ role: "user", content: text });
    turn(side, "user", text);
    const shown = turn(side, "assistant", "");
    const began = performance.now();
    try {
      const fields = arena ? {} : Object.fromEntries(new FormData(form));
      if (!arena) fields.model = side.dataset.side;
      const system = fields.system ? [{ role: "system", content: fields.system }] : [];
      fields.messages = JSON.stringify([...system, ...history]);
      const answer = await post(arena ? `/arena/bouts/${bout}/${side.dataset.side}` : "/playground/ask", fields);
      const end = await read(answer, (piece) => { shown.textContent += piece; });
      history.push({ role: "assistant", content: shown.textContent });
      const note = side.querySelector(".note");
      if (note) {
        note.textContent = `${Math.round(performance.now() - began)} ms`
          + (end.usage ? ` · ${end.usage.prompt_tokens} tokens in, ${end.usage.completion_tokens} out` : "");
      }
    } catch (problem) {
      shown.classList.add("error");
      shown.textContent = problem.message;
      history.pop();
    }
  }

  async function read(answer, take) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", end = {};
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return end;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const said = JSON.parse(event.slice(6));
        if (said.error) throw new Error(said.error);
        if (said.text) take(said.text);
        if (said.done) end = said;
      }
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = form.elements.message, text = field.value.trim();
    if (!text) return;
    const button = form.querySelector("button");
    button.disabled = true;
    status.textContent = "Answering…";
    try {
      if (arena && !bout) bout = (await (await post(`/arena/${encodeURIComponent(arena)}/deal`, {})).json()).id;
      field.value = "";
      await Promise.all(sides.map((side) => speak(side, text)));
      if (votes) votes.hidden = false;
      status.textContent = votes ? "Which one was better?" : "";
    } catch (problem) {
      status.textContent = problem.message;
    }
    button.disabled = false;
  });

  votes?.addEventListener("click", async (event) => {
    const winner = event.target.closest("[data-winner]")?.dataset.winner;
    if (!winner || !bout) return;
    try {
      const who = await (await post(`/arena/bouts/${bout}/vote`, { winner })).json();
      for (const side of sides) side.querySelector("h2").textContent = `${side.dataset.side}: ${who[side.dataset.side]}`;
      votes.hidden = true;
      form.hidden = true;
      document.getElementById("again").hidden = false;
      status.textContent = `Your vote is kept: ${winner}.`;
      document.querySelector("#again a").focus();
    } catch (problem) {
      status.textContent = problem.message;
    }
  });
})();
