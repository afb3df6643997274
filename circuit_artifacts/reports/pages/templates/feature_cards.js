"use strict";
{
  const list = document.getElementById("cards");
  const find = document.getElementById("find");
  const sort = document.getElementById("sort");
  const cards = Array.from(list.children, (element) => ({
    element,
    id: Number(element.dataset.id),
    mean: element.dataset.mean === "" ? null : Number(element.dataset.mean),
    events: Number(element.dataset.events),
    text: element.querySelector("h2").textContent.toLowerCase(),
  }));

  // Equals keep their order, and what is unknown comes last either way.
  const compare = (key, direction) => (a, b) =>
    (a[key] === null) - (b[key] === null) || direction * (a[key] - b[key]);

  const arrange = () => {
    const [key, direction] = sort.value.split(" ");
    const order = key === "given" ? cards : cards.toSorted(compare(key, direction === "up" ? 1 : -1));
    list.append(...order.map((card) => card.element));
  };

  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    for (const card of cards) card.element.hidden = !card.text.includes(wanted);
    const n = cards.filter((card) => !card.element.hidden).length;
    const total = cards.length.toLocaleString("en");
    document.getElementById("count").textContent =
      n === cards.length ? `Features: ${total}` : `Features: ${n.toLocaleString("en")} of ${total}`;
    document.getElementById("nothing").hidden = n > 0;
  };

  sort.addEventListener("change", arrange);
  find.addEventListener("input", filter);
  // A browser may have kept the controls of an earlier visit.
  arrange();
  filter();
}
