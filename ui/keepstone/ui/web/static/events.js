// Runs once in each of our HTML components, with `element`, `trigger`, `watch` and `EVENTS` at hand.
// A click on [data-event], or sending such a form, becomes the Gradio event of that name; its data is the payload.

function raise(source, fields) {
  const name = source.dataset.event;
  if (!EVENTS.has(name)) return;
  const question = source.dataset.confirm;
  const go = () => trigger(name, { ...source.dataset, ...fields });
  if (question) window.keepstone.confirm(question, source.dataset.confirmLabel, go);
  else go();
}

element.addEventListener("click", (event) => {
  const source = event.target.closest("button[data-event]");
  if (source && !source.disabled) raise(source, {});
});

element.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-event]");
  if (!form) return;
  event.preventDefault();
  raise(form, Object.fromEntries(new FormData(form)));
  form.hidden = true;
});

watch("value", () => window.keepstone.changed(element));
