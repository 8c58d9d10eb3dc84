// A structure on a canvas: spheres and bonds from back to front. Drag turns, the wheel or two fingers zoom, a double click resets.
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("structure").textContent);
  const canvas = document.getElementById("viewer");
  const pen = canvas.getContext("2d");
  const count = data.elements.length;
  const start = [0.96, 0.08, -0.26, 0, 0.95, 0.3, 0.28, -0.29, 0.91]; // rows: axes of the screen
  let turn = start.slice(), zoom = 1, waiting = false;

  const edges = data.cell ? cellEdges(data.cell) : [];
  const everything = data.positions.concat(edges.flat());
  const middle = [0, 1, 2].map(function (k) {
    const values = everything.map((p) => p[k]);
    return (values.reduce((a, b) => Math.min(a, b)) + values.reduce((a, b) => Math.max(a, b))) / 2;
  });
  const reach = 1.5 + everything.reduce((far, p) => Math.max(far, Math.hypot(p[0] - middle[0], p[1] - middle[1], p[2] - middle[2])), 0);
  const balls = {}; // symbol -> picture of a sphere

  function cellEdges(cell) {
    const corner = (i, j, k) => [0, 1, 2].map((x) => data.origin[x] + i * cell[0][x] + j * cell[1][x] + k * cell[2][x]);
    const result = [];
    for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      result.push([corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)], [corner(a, b, 0), corner(a, b, 1)]);
    }
    return result;
  }

  function ball(symbol) {
    if (!balls[symbol]) {
      const picture = document.createElement("canvas");
      picture.width = picture.height = 96;
      const brush = picture.getContext("2d");
      const light = brush.createRadialGradient(36, 32, 4, 48, 48, 48);
      light.addColorStop(0, "#ffffff");
      light.addColorStop(0.25, data.colours[symbol]);
      light.addColorStop(1, "#222222");
      brush.fillStyle = light;
      brush.arc(48, 48, 47, 0, 2 * Math.PI);
      brush.fill();
      balls[symbol] = picture;
    }
    return balls[symbol];
  }

  function place(p, scale) {
    const [x, y, z] = [0, 1, 2].map((k) => p[k] - middle[k]);
    return [
      canvas.width / 2 + scale * (turn[0] * x + turn[1] * y + turn[2] * z),
      canvas.height / 2 - scale * (turn[3] * x + turn[4] * y + turn[5] * z),
      turn[6] * x + turn[7] * y + turn[8] * z,
    ];
  }

  function line(a, b, width, colour) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    pen.stroke();
  }

  function draw() {
    waiting = false;
    const scale = (zoom * Math.min(canvas.width, canvas.height)) / (2 * reach);
    const points = data.positions.map((p) => place(p, scale));
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const [a, b] of edges) line(place(a, scale), place(b, scale), 1, "#9a9a9a");
    const things = points.map((p, index) => [p[2], index, -1]);
    for (const [i, j] of data.bonds) things.push([(points[i][2] + points[j][2]) / 2 - 0.01, i, j]);
    things.sort((a, b) => a[0] - b[0]);
    for (const [, i, j] of things) {
      if (j >= 0) {
        line(points[i], points[j], Math.max(1, 0.2 * scale), "#8c8c8c");
        continue;
      }
      const radius = Math.max(1.5, scale * data.radii[data.elements[i]]);
      pen.drawImage(ball(data.elements[i]), points[i][0] - radius, points[i][1] - radius, 2 * radius, 2 * radius);
    }
    canvas.dataset.drawn = count;
  }

  function later() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function rotate(dx, dy) { // about the screen's axes: rows mix
    const [c, s, d, t] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
    for (let k = 0; k < 3; k++) {
      const [x, y, z] = [turn[k], turn[3 + k], turn[6 + k]];
      const [u, w] = [c * x + s * z, c * z - s * x];
      turn[k] = u;
      turn[3 + k] = d * y - t * w;
      turn[6 + k] = t * y + d * w;
    }
    later();
  }

  const fingers = new Map();
  canvas.addEventListener("pointerdown", function (event) {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", function (event) {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    if (fingers.size === 1) rotate((event.clientX - last.clientX) / 120, (event.clientY - last.clientY) / 120);
    else {
      const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
      const apart = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
      zoomBy(apart(event) / Math.max(1, apart(last)));
    }
    fingers.set(event.pointerId, event);
  });
  function zoomBy(factor) {
    zoom = Math.min(20, Math.max(0.2, zoom * factor));
    later();
  }
  canvas.addEventListener("wheel", function (event) {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 600));
  }, { passive: false });
  canvas.addEventListener("dblclick", function () {
    turn = start.slice();
    zoom = 1;
    later();
  });
  draw();
})();
