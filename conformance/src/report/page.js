
const $ = (id) => document.getElementById(id);
const rows = [...document.querySelectorAll(".row")];
const chosen = { level: new Set(), verdict: new Set() };
function apply() {
  const spec = $("spec").value, words = $("text").value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    const fits = (!spec || row.parentElement.dataset.spec === spec)
      && ["level", "verdict"].every((name) => !chosen[name].size || chosen[name].has(row.dataset[name]))
      && (!words || row.textContent.toLowerCase().includes(words));
    row.hidden = !fits;
    count += fits;
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector(".row:not([hidden])");
  }
  $("shown").textContent = `${count} of ${rows.length}`;
  $("none").hidden = count > 0;
}
for (const group of document.querySelectorAll(".group")) {
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const set = chosen[group.dataset.filter];
    const on = set.delete(button.value) ? false : !!set.add(button.value);
    button.setAttribute("aria-pressed", on);
    apply();
  });
}
$("spec").addEventListener("change", apply);
$("text").addEventListener("input", apply);
function unfold() {
  const row = $(location.hash.slice(1));
  if (!row?.matches("details")) return;
  row.hidden = false;
  row.open = true;
  row.scrollIntoView();
}
addEventListener("hashchange", unfold);
$("filters").hidden = false;
apply();
unfold();
