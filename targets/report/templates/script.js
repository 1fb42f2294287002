// Shows the membrane that is chosen; without it the first one is shown.
for (const select of document.querySelectorAll("select[data-shows]")) {
  const figures = document.querySelectorAll("#" + select.dataset.shows + " > figure");
  const show = () => figures.forEach((figure, i) => { figure.hidden = i !== select.selectedIndex; });
  select.addEventListener("change", show);
  show();
}
