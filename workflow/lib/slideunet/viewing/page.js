// What a click and a key do, beside the viewer's own script. They are done here and not by a new state from the
// server: that would make every layer anew, and lose later clicks (docs/decisions/0013-viewer.md).
"use strict";
(() => {
  const { viewer } = window;
  const files = location.pathname.replace("/v/", "/files/").replace(/[^/]*$/, "");
  const CLOSE = 0.5; // Pixels of the slide per pixel of the screen: cells and outlines are seen.

  const errors = () =>
    viewer.state.toJSON().layers.find((layer) => layer.name === "errors")?.annotations ?? [];
  const chosenError = () => viewer.state.toJSON().selection?.layers?.errors?.annotationId;

  function moveTo(id) {
    const found = errors().find((error) => error.id === id);
    if (found) viewer.state.restoreState({ position: found.point, crossSectionScale: CLOSE });
  }

  function step(by) {
    const ids = errors().map((error) => error.id);
    if (!ids.length) return;
    const now = ids.indexOf(chosenError());
    const id = ids.at(now < 0 ? Math.min(by, 0) : (now + by) % ids.length);
    viewer.state.restoreState({ selection: { layers: { errors: { annotationId: id } }, visible: true } });
    moveTo(id);
  }

  function cellUnderPointer() {
    if (!viewer.mouseState.updateUnconditionally()) return 0;
    const values = viewer.layerSelectedValues.toJSON();
    const value = values.cells?.value ?? values["outlines of cells"]?.value ?? 0;
    return Number(value.key ?? value);
  }

  function box(cell, pointA, pointB) {
    const boxes = viewer.layerManager.getLayerByName("chosen cell")?.layer?.localAnnotations;
    const type = "axis_aligned_bounding_box";
    boxes?.restoreState(cell ? [{ type, id: `${cell}`, pointA, pointB }] : []);
  }

  function inWords(value) {
    if (value === null) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    return typeof value !== "number" || Number.isInteger(value) ? `${value}` : `${Number(value.toPrecision(5))}`;
  }

  const panel = document.createElement("section");
  panel.id = "row";
  panel.hidden = true;
  const closer = Object.assign(document.createElement("button"), { textContent: "×", title: "Close (Escape)" });
  const table = document.createElement("table");
  panel.append(closer, table);
  document.body.append(panel);

  function close() {
    panel.hidden = true;
    box();
  }

  let asked = 0; // Answers to earlier clicks come too late.
  async function showCell() {
    const cell = cellUnderPointer();
    if (!cell) return;
    const mine = ++asked;
    const answer = await fetch(`${files}row/${cell}`);
    if (mine !== asked || !answer.ok) return; // What is wrong stands at the bottom of the page.
    const { row, pointA, pointB } = await answer.json();
    table.replaceChildren();
    for (const [name, value] of Object.entries(row)) {
      const line = table.insertRow();
      line.insertCell().textContent = name;
      line.insertCell().textContent = inWords(value);
    }
    panel.hidden = false;
    box(cell, pointA, pointB);
  }

  closer.addEventListener("click", close);
  addEventListener("keydown", (event) => event.key === "Escape" && close());
  addEventListener("action:show-cell", showCell);
  addEventListener("action:next-error", () => step(1));
  addEventListener("action:previous-error", () => step(-1));
  // Caught on its way down, since the viewer stops it where it arrives; the choice is made when it has arrived.
  addEventListener("action:pin-annotation", () => setTimeout(() => moveTo(chosenError())), true);
})();
