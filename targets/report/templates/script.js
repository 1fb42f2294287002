// Show the chosen membrane. Without this script the page shows the first one.
for (const select of document.querySelectorAll("select[data-shows]")) {
  const figures = document.querySelectorAll("#" + select.dataset.shows + " > figure");
  const show = () => figures.forEach((figure, i) => { figure.hidden = i !== select.selectedIndex; });
  select.addEventListener("change", show);
  show();
}
// Sort the runs of a comparison by the row whose name is clicked; again: the reverse.
for (const table of document.querySelectorAll("table.sortable")) {
  for (const name of table.querySelectorAll("tbody th")) {
    const own = [...name.parentElement.querySelectorAll("td")];
    if (own.filter(cell => cell.dataset.value !== undefined).length < 2) continue;
    const button = document.createElement("button");
    button.textContent = name.textContent;
    name.replaceChildren(button);
    let sign = 1;
    button.addEventListener("click", () => {
      const key = cell => cell.dataset.value === undefined ? Infinity : sign * Number(cell.dataset.value);
      const now = [...name.parentElement.querySelectorAll("td")];
      const order = now.map((cell, i) => [key(cell), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      for (const row of table.rows) {
        const cells = [...row.children];
        row.append(...order.map(([, i]) => cells[i + 1]));
      }
      sign = -sign;
    });
  }
}
// On a phone, what is long is folded away.
if (matchMedia("(max-width: 480px)").matches) {
  for (const fold of document.querySelectorAll("details.fold")) fold.open = false;
}
