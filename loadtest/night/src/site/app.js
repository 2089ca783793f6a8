"use strict";

const RESULT = "assets/JSON/PRESIDENCIA/NACIONAL/Presidencia_NACIONAL.json";
const REFRESH_MS = 5000;

const show = (id, text) => { document.getElementById(id).textContent = text; };
const read = async (path) => (await fetch(path, { cache: "no-cache" })).json();

function bar(party) {
  const item = document.createElement("li");
  const fill = document.createElement("span");
  fill.style.width = `${party.porcentaje}%`;
  fill.style.background = `#${party.colorPartido}`;
  const label = document.createElement("em");
  label.textContent = `${party.siglasPartido} ${party.total.toLocaleString("es-MX")}`;
  item.append(fill, label);
  return item;
}

async function refresh() {
  try {
    const { configuracion } = await read("assets/configuracion.json");
    const result = await read(RESULT);
    show("cut", `${result.fechaCorte}, ${result.horaCorte}`);
    show("counted", `${result.actasContabilizadas.porcentaje} %`);
    const database = document.getElementById("database");
    database.href = configuracion.urlBaseDatos;
    database.textContent = configuracion.urlBaseDatos;
    const parties = result.votacionPartidosConDistribucion || [];
    document.getElementById("parties").replaceChildren(...parties.map(bar));
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

refresh();
