"use strict";
{
  const { traces, texts, axes } = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  const find = document.getElementById("find");
  const colour = document.getElementById("colour");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const groupColours = traces.map((trace) => trace.marker.color);
  const size = traces.length ? traces[0].marker.size : 0;
  const entropies = traces.flatMap((trace) => trace.z);
  const lowered = texts.map((group) => group.map((text) => text.toLowerCase()));

  // Attributes by path: the view stays as it was turned.
  const theme = (isDark) => {
    const [text, line, surface] = isDark ? ["#e4e9e7", "#45524d", "#1a201e"] : ["#1c2321", "#d0d7d4", "#ffffff"];
    const colours = {
      paper_bgcolor: surface,
      "font.color": text,
      "hoverlabel.bgcolor": surface,
      "hoverlabel.bordercolor": text,
      "hoverlabel.font.color": text,
    };
    for (const axis of ["xaxis", "yaxis", "zaxis"]) {
      Object.assign(colours, {
        [`scene.${axis}.color`]: text,
        [`scene.${axis}.gridcolor`]: line,
        [`scene.${axis}.zerolinecolor`]: line,
      });
    }
    return colours;
  };

  const axis = (title) => ({ title: { text: title }, showbackground: false, showspikes: false });
  const layout = {
    font: { family: "system-ui, sans-serif", size: 12 },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    hoverlabel: { align: "left" },
    showlegend: traces.length > 1,
    legend: { x: 0.01, y: 0.99, bgcolor: "rgba(0,0,0,0)", itemsizing: "constant" },
    scene: {
      aspectmode: "cube",
      camera: { eye: { x: 1.55, y: 1.55, z: 0.75 }, center: { x: 0, y: 0, z: -0.12 } },
      xaxis: axis(axes[0]),
      yaxis: axis(axes[1]),
      zaxis: axis(axes[2]),
    },
    coloraxis: {
      colorscale: "Viridis",
      cmin: Math.min(...entropies),
      cmax: Math.max(...entropies),
      colorbar: { title: { text: axes[2], side: "right" }, thickness: 14, len: 0.6 },
    },
  };
  const config = {
    displaylogo: false,
    displayModeBar: true,
    plotlyServerURL: "",
    responsive: true,
    showEditInChartStudio: false,
    showSendToCloud: false,
    toImageButtonOptions: { filename: "clusters3d", scale: 2 },
    typesetMath: false,
  };

  const paint = () => {
    const byEntropy = colour.value === "entropy";
    const update = {
      "marker.color": byEntropy ? traces.map((trace) => trace.z) : groupColours,
      "marker.coloraxis": traces.map(() => (byEntropy ? "coloraxis" : null)),
      "marker.line.width": byEntropy && traces.length > 1 ? 2 : 0, // the rim keeps the colour of the group
    };
    return Plotly.update(plot, update, { "coloraxis.showscale": byEntropy });
  };

  const search = () => {
    const wanted = find.value.trim().toLowerCase();
    const hits = lowered.map((group) => group.map((text) => wanted !== "" && text.includes(wanted)));
    const n = hits.flat().filter(Boolean).length;
    document.getElementById("count").textContent =
      wanted === "" ? `Features: ${entropies.length}` : `Features: ${n} of ${entropies.length}`;
    // Plotly draws a size in a list half as large as one number.
    const sizes = hits.map((group) => (wanted === "" ? size : group.map((hit) => (hit ? 3.5 * size : 1.5 * size))));
    return Plotly.restyle(plot, { "marker.size": sizes });
  };

  const repaint = (isDark) => Plotly.relayout(plot, theme(isDark));

  Plotly.newPlot(plot, traces, layout, config)
    .then(() => repaint(dark.matches))
    .then(paint)
    .then(search)
    .then(() => {
      colour.addEventListener("change", paint);
      find.addEventListener("input", search);
      dark.addEventListener("change", () => repaint(dark.matches));
      window.addEventListener("beforeprint", () => repaint(false));
      window.addEventListener("afterprint", () => repaint(dark.matches));
      plot.dataset.ready = "yes";
    });
}
