// The behaviour of the pages: which page is shown, the panels at the sides, confirmations, copying, scrolling.
// Run once by Gradio when the pages open.
() => {
  const PAGES = ["chat", "documents", "search", "improve", "status"];
  const root = document.documentElement;

  function page() {
    const wanted = location.hash.slice(1);
    return PAGES.includes(wanted) ? wanted : "chat";
  }

  function showPage() {
    // Documents may have come and gone while another page was shown.
    if (root.dataset.page && root.dataset.page !== page()) document.getElementById(`${page()}-refresh`)?.click();
    root.dataset.page = page();
    closePanel("history");
    for (const link of document.querySelectorAll("#navigation a[data-page]")) {
      if (link.dataset.page === page()) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const titles = { documents: "Documents", search: "Search", improve: "Improve", status: "Status" };
    document.title = [titles[page()], "Keepstone"].filter(Boolean).join(" · ");
  }

  let opener = null;

  function openPanel(name) {
    if (!root.classList.contains(`${name}-open`)) opener = document.activeElement;
    root.classList.add(`${name}-open`);
    const toggle = document.getElementById(`${name}-toggle`);
    if (toggle) toggle.setAttribute("aria-expanded", "true");
  }

  function closePanel(name) {
    if (!root.classList.contains(`${name}-open`)) return;
    root.classList.remove(`${name}-open`);
    const toggle = document.getElementById(`${name}-toggle`);
    if (toggle) toggle.setAttribute("aria-expanded", "false");
    if (name === "reader" && opener && opener.isConnected) opener.focus({ preventScroll: true });
  }

  function confirm(question, label, go) {
    const dialog = document.createElement("dialog");
    dialog.className = "confirm";
    const text = document.createElement("p");
    text.textContent = question;
    const row = document.createElement("form");
    row.method = "dialog";
    for (const [value, words] of [["no", "Cancel"], ["yes", label || "Go on"]]) {
      const button = document.createElement("button");
      button.value = value;
      button.textContent = words;
      button.className = value === "yes" ? "button danger" : "button";
      row.append(button);
    }
    dialog.append(text, row);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "yes") go();
    });
    document.querySelector(".gradio-container").append(dialog);
    dialog.showModal();
  }

  // Called after one of our components shows something new.
  function changed(element) {
    const panel = element.closest("#reader-panel");
    if (panel) {
      openPanel("reader");
      const mark = panel.querySelector("mark.quote") || panel.querySelector("mark");
      const text = panel.querySelector(".document-text");
      requestAnimationFrame(() => {
        if (mark) mark.scrollIntoView({ block: "center" });
        else document.getElementById("reader").scrollTop = 0;
        if (text) text.focus({ preventScroll: true });
      });
    }
    if (element.closest("#live")) keepUnfolded(element);
    if (element.closest("#live") || element.closest("#turns")) follow();
  }

  // Steps of the agent that a person unfolded stay so while more come, although each update draws them anew.
  let unfolded = false;

  function keepUnfolded(element) {
    const steps = element.querySelector(".agent-steps");
    unfolded = Boolean(steps) && unfolded;
    if (unfolded) steps.open = true;
  }

  document.addEventListener(
    "toggle",
    (event) => {
      if (event.target.matches("#live .agent-steps")) unfolded = event.target.open;
    },
    true,
  );

  // Keep the end of an answer in sight while it is written, unless the person has scrolled up to read.
  let following = true;

  function thread() {
    return document.getElementById("thread");
  }

  function follow() {
    const scroller = thread();
    if (following && scroller) requestAnimationFrame(() => (scroller.scrollTop = scroller.scrollHeight));
  }

  document.addEventListener(
    "scroll",
    (event) => {
      const scroller = thread();
      if (event.target === scroller) {
        following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
      }
    },
    true,
  );

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.close) closePanel(button.dataset.close);
    if (button.dataset.toggle) {
      const name = button.dataset.toggle;
      if (root.classList.contains(`${name}-open`)) closePanel(name);
      else openPanel(name);
    }
    if (button.dataset.event === "example") following = true;
    if ("copy" in button.dataset) {
      const answer = button.closest(".answer").querySelector(".answer-text");
      await copy(answer.innerText);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
    }
  });

  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // pages that are not on https have no clipboard object
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      closePanel("reader");
      closePanel("history");
    }
    if (event.key === "Enter" && event.target.closest?.("#question")) following = true;
  });

  // When the session has ended, every call is refused: sign in anew. An upload that is refused shows the answer's body,
  // so it gets words for people.
  const fetched = window.fetch.bind(window);
  window.fetch = async (...call) => {
    const response = await fetched(...call);
    const url = new URL(response.url);
    if (response.ok || url.origin !== location.origin) return response;
    if (response.status === 401) location.assign("/login");
    if (url.pathname !== "/gradio_api/upload") return response;
    const { error } = await response.clone().json().catch(() => ({}));
    return error ? new Response([error.message, error.fix].filter(Boolean).join(". "), response) : response;
  };

  window.keepstone = { confirm, changed };
  window.addEventListener("hashchange", showPage);
  root.lang = "en";
  showPage();
  // Gradio draws the header after this has run.
  const waiting = new MutationObserver(() => {
    if (document.querySelector("#navigation a[data-page]")) {
      showPage();
      waiting.disconnect();
    }
  });
  waiting.observe(document.body, { childList: true, subtree: true });
}
