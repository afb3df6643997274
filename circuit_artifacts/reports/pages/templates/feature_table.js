"use strict";
{
  const CHUNK = 100; // rows that are put into the page at a time
  const { columns, rows } = JSON.parse(document.getElementById("data").textContent);
  const field = Object.fromEntries(columns.map((column, index) => [column.field, index]));
  const input = (id) => document.getElementById(id);
  const body = document.querySelector("tbody");
  const headers = Array.from(document.querySelectorAll("th"));
  const texts = rows.map((row) =>
    columns.map((column, index) => (column.kind === "text" || index === 0 ? row[index] : "")).join(" ").toLowerCase(),
  );
  const collator = new Intl.Collator("en", { numeric: true });
  const elements = new Map();
  let sorted = rows.map((_, number) => number);
  let shown = sorted;
  let drawn = 0;

  // Equals keep the order of the file, and what is missing comes last either way.
  const compare = (column, direction) => {
    const order = columns[column].kind === "text" ? collator.compare : (a, b) => a - b;
    return (a, b) => {
      const [first, second] = [rows[a][column], rows[b][column]];
      if (first === null || second === null) return (first === null) - (second === null) || a - b;
      return direction * order(first, second) || a - b;
    };
  };

  const sparkline = (heights) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const area = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    const n = heights.length;
    svg.setAttribute("viewBox", `0 0 ${n} 104`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const steps = heights.flatMap((height, index) => [`${index},${103 - height}`, `${index + 1},${103 - height}`]);
    area.setAttribute("points", `0,104 ${steps.join(" ")} ${n},104`);
    svg.append(area);
    return svg;
  };

  const cell = (value, { field, kind, digits }) => {
    const element = document.createElement("td");
    element.className = `${kind} ${field}`;
    if (value === null) {
      element.classList.add("unknown");
      element.textContent = "–";
    } else if (kind === "profile") element.append(sparkline(value));
    else if (kind === "fixed") element.textContent = value.toFixed(digits);
    else if (kind === "significant") element.textContent = value.toPrecision(digits);
    else element.textContent = value;
    return element;
  };

  const element = (number) => {
    if (!elements.has(number)) {
      const row = document.createElement("tr");
      row.append(...columns.map((column, index) => cell(rows[number][index], column)));
      elements.set(number, row);
    }
    return elements.get(number);
  };

  const drawMore = (n = CHUNK) => {
    body.append(...shown.slice(drawn, drawn + n).map(element));
    drawn = Math.min(drawn + n, shown.length);
    const left = shown.length - drawn;
    input("more").textContent = left ? `${left.toLocaleString("en")} more: scroll on` : shown.length ? "" : "No feature matches.";
  };

  const draw = () => {
    body.replaceChildren();
    drawn = 0;
    drawMore();
    input("frame").scrollTop = 0;
  };

  const bound = (id, otherwise) => (Number.isNaN(input(id).valueAsNumber) ? otherwise : input(id).valueAsNumber);

  const filter = () => {
    const wanted = input("find").value.trim().toLowerCase();
    const [from, to, events] = [bound("from", null), bound("to", null), bound("events", 0)];
    const within = (mean) => (from === null || (mean !== null && mean >= from)) && (to === null || (mean !== null && mean <= to));
    shown = sorted.filter(
      (number) =>
        texts[number].includes(wanted) && within(rows[number][field.mean]) && rows[number][field.n_events] >= events,
    );
    const total = rows.length.toLocaleString("en");
    input("count").textContent =
      shown.length === rows.length ? `Features: ${total}` : `Features: ${shown.length.toLocaleString("en")} of ${total}`;
    draw();
  };

  const sort = (index) => {
    const direction = headers[index].getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const header of headers) header.removeAttribute("aria-sort");
    headers[index].setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    sorted = sorted.toSorted(compare(index, direction));
    filter();
  };

  headers.forEach((header, index) => header.querySelector("button")?.addEventListener("click", () => sort(index)));
  for (const id of ["find", "from", "to", "events"]) input(id).addEventListener("input", filter);
  const frame = input("frame");
  frame.addEventListener("scroll", () => {
    if (drawn < shown.length && frame.scrollTop + 2 * frame.clientHeight > frame.scrollHeight) drawMore();
  });
  window.addEventListener("beforeprint", () => drawMore(shown.length));
  filter();
}
