// Loads the figures again every few seconds, and replaces the parts that changed. What is open or in focus stays so.
"use strict";
{
  const live = document.getElementById("live");
  const state = document.getElementById("state");
  const clock = document.getElementById("clock");
  const pause = document.getElementById("pause");
  const intervalMs = 3000, afterErrorMs = 10000;
  const shown = new Map();
  let paused = false;

  function replace(part) {
    const old = document.getElementById(part.id);
    if (!old || shown.get(part.id) === part.outerHTML) return;
    shown.set(part.id, part.outerHTML);
    const open = [...old.querySelectorAll("details[open]")].map((one) => one.id);
    const focused = old.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : null;
    const scrolled = [...old.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    old.replaceWith(document.adoptNode(part));
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    part.querySelectorAll(".wide").forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
    if (focused) {
      const again = document.getElementById(focused);
      (again?.querySelector(":scope > summary") || again)?.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    let next = intervalMs;
    if (!paused && !document.hidden) {
      try {
        const response = await fetch(live.dataset.source, { cache: "no-store", credentials: "same-origin" });
        if (!response.ok) throw new Error(String(response.status));
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        if (!paused) {
          for (const part of [...page.body.children]) replace(part);
          clock.textContent = response.headers.get("x-paymaster-clock");
        }
        if (state.textContent) state.textContent = "";
      } catch {
        next = afterErrorMs;
        if (!state.textContent) state.textContent = "No answer from the gateway; trying again.";
      }
    }
    setTimeout(refresh, next);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    state.textContent = paused ? "Paused." : "";
  });
  setTimeout(refresh, intervalMs);
}
