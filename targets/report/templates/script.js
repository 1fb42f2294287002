// Show the chosen membrane. Without this script the page shows the first one.
for (const select of document.querySelectorAll("select[data-shows]")) {
  const figures = document.querySelectorAll("#" + select.dataset.shows + " > figure");
  const show = () => figures.forEach((figure, i) => { figure.hidden = i !== select.selectedIndex; });
  select.addEventListener("change", show);
  show();
}
