// What the Noise tab's stage draws with: numbers, pictures and curves. Nothing here knows the page.
const sdDraw = (() => {
  "use strict";
  const BINS = 48, REACH = 4; // of the histogram, from -4 to 4
  const TALLEST = 0.8; // density that fills the histogram's height
  const WIDTH = 600, HEIGHT = 170; // of a curve's viewBox
  const STEEPEST = 12; // where the drawn log SNR is cut
  const MOST_POINTS = 300; // of a drawn schedule
  const POWERS = [-4, 4]; // decades of the drawn spectrum

  // Numbers.

  const floats = (text) =>
    new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  let halves = null;
  function half(bits) {
    halves ||= Float32Array.from({ length: 65536 }, (_, h) => {
      const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
      if (exponent === 0) return sign * fraction * 2 ** -24;
      return exponent === 31 ? NaN : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    });
    return halves[bits];
  }
  // x_t = a x_0 + b eps at a whole time of a schedule.
  function mix(schedule, t) {
    const alphaBar = schedule.alphaBar[t];
    return { t, alphaBar, a: Math.sqrt(alphaBar), b: Math.sqrt(1 - alphaBar) };
  }
  const logSnr = (alphaBar) => Math.log(alphaBar) - Math.log1p(-alphaBar);
  function percent(share) {
    const value = 100 * share;
    if ((value >= 1 && value <= 99) || value === 0 || value === 100) return value.toFixed(0);
    return String(Number(value.toPrecision(2)));
  }
  const three = (value, digits = 3) =>
    Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : value > 0 ? "∞" : "-∞";
  const say = (words, key, values) =>
    (words[key] || "").replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // Pictures. Values wait as 127.5 x_0 and 127.5 eps, so that a pixel costs two multiplications.

  function unpack(buffer, side) {
    const count = side * side, x0 = new Float32Array(3 * count), eps = new Float32Array(3 * count);
    const pixels = new Uint8Array(buffer, 0, 3 * count);
    const bits = new DataView(buffer, 3 * count);
    for (let channel = 0; channel < 3; channel++) {
      for (let i = 0; i < count; i++) {
        const from = channel * count + i, to = 3 * i + channel;
        x0[to] = pixels[from] - 127.5;
        eps[to] = 127.5 * half(bits.getUint16(2 * from, true));
      }
    }
    return { x0, eps, side };
  }
  function imageOf(canvas, context, side) {
    if (canvas.width !== side) canvas.width = canvas.height = side;
    if (!canvas.image || canvas.image.width !== side) {
      canvas.image = context.createImageData(side, side);
      canvas.image.data.fill(255);
    }
    return canvas.image;
  }
  function paint(canvas, { x0, eps, side }, { mean, std }, { a, b }) {
    const context = canvas.getContext("2d"), image = imageOf(canvas, context, side);
    const data = image.data, grain = b * std, base = 127.5 * (1 + b * mean);
    for (let from = 0, to = 0; from < x0.length; from += 3, to += 4) {
      // The array clamps, and rounds halves to even, as the server does.
      data[to] = a * x0[from] + grain * eps[from] + base;
      data[to + 1] = a * x0[from + 1] + grain * eps[from + 1] + base;
      data[to + 2] = a * x0[from + 2] + grain * eps[from + 2] + base;
    }
    context.putImageData(image, 0, 0);
  }
  // base64 of little-endian float16 as numbers.
  function halves16(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return Float32Array.from(new Uint16Array(bytes.buffer), half);
  }
  // The linear view of z_t: a place's colour is a weighted sum of its channels, and one colour more.
  function paintLatents(canvas, { z, eps, rgb, shape: [channels, height, width] }, { mean, std }, { a, b }) {
    const context = canvas.getContext("2d"), count = height * width;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const image = context.createImageData(width, height), { data } = image;
    for (let i = 0; i < count; i++) {
      const colour = [rgb[3 * channels], rgb[3 * channels + 1], rgb[3 * channels + 2]];
      for (let c = 0; c < channels; c++) {
        const at = c * count + i, value = a * z[at] + b * (mean + std * eps[at]);
        for (let k = 0; k < 3; k++) colour[k] += value * rgb[3 * c + k];
      }
      for (let k = 0; k < 3; k++) data[4 * i + k] = 127.5 * (colour[k] + 1);
      data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }
  // How the values of w_t = (x_t - b mean) / std are spread, as densities.
  const counts = new Float32Array(BINS);
  function histogram({ x0, eps }, { std }, { a, b }) {
    counts.fill(0);
    const scale = BINS / (2 * REACH) / 127.5, shrink = (a / std) * scale, grain = b * scale;
    for (let i = 0; i < x0.length; i++) {
      const bin = Math.floor(shrink * x0[i] + grain * eps[i] + BINS / 2);
      if (bin >= 0 && bin < BINS) counts[bin]++;
    }
    const density = BINS / (2 * REACH) / x0.length;
    for (let bin = 0; bin < BINS; bin++) counts[bin] *= density;
    return counts;
  }

  // Where the values of x_t lie, of a sample large enough: their mean and their spread.
  function moments({ x0, eps }, { mean, std }, { a, b }) {
    let sum = 0, squares = 0;
    for (let i = 0; i < x0.length; i++) {
      const value = a * x0[i] + b * std * eps[i];
      sum += value;
      squares += value * value;
    }
    const middle = sum / x0.length;
    const spread = Math.sqrt(Math.max(0, squares / x0.length - middle * middle));
    return { mean: middle / 127.5 + b * mean, spread: spread / 127.5 };
  }
  // KL(q(w_t | w_0) || N(0, 1)) per value, of w_t = (x_t - b mean) / std: two Gaussians.
  function klToPrior({ power, form: { std } }, alphaBar) {
    return 0.5 * (alphaBar * (power / std ** 2) - alphaBar - Math.log1p(-alphaBar));
  }
  // The finest frequency, in cycles per side, whose power stands above the noise; 0 for none.
  function finest({ spectrum, form: { std } }, { alphaBar }) {
    const grain = (1 - alphaBar) * std ** 2;
    return spectrum.findLastIndex((power) => alphaBar * power > grain) + 1;
  }

  // Plots: grey lines, the accent for where t is now. One is in sight at a time.

  const SVG = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">`;
  const LINE = '<polyline class="line"/>';
  const CURSOR = `<line class="cursor" y1="0" y2="${HEIGHT}"/>`;
  const INSIDE = {
    left: '<polyline class="dashed"/>' + LINE + CURSOR,
    values: '<path class="bars"/>' + LINE,
    detail: `<line class="level" x1="0" x2="${WIDTH}"/>` + LINE + CURSOR,
  };
  const NAMED = { detail: '<span class="level-name"></span>' }; // what the dashed line is
  const points = (pairs) =>
    pairs.map(([x, y]) => `${(x * WIDTH).toFixed(1)},${((1 - y) * HEIGHT).toFixed(1)}`).join(" ");
  const bars = (density) => Math.min(1, density / TALLEST);
  const clamped = (value, low, high) => Math.max(low, Math.min(high, value));

  function plot(key) {
    const box = document.createElement("div");
    box.className = `curve plot-${key}`;
    box.hidden = true;
    box.innerHTML = `${SVG}${INSIDE[key]}</svg><span class="dot"></span>${NAMED[key] ?? ""}`;
    const pick = (selector) => box.querySelector(selector);
    return { key, box, dot: pick(".dot"), line: pick(".line"), dashed: pick(".dashed"),
      cursor: pick(".cursor"), bars: pick(".bars"), level: pick(".level"), name: pick(".level-name") };
  }
  function ticks({ box }, marks) {
    box.querySelectorAll(".tick, .foot").forEach((mark) => mark.remove());
    for (const [kind, text, place] of marks) {
      const mark = document.createElement("span");
      mark.className = kind;
      mark.textContent = text;
      mark.style[kind.startsWith("tick") ? "bottom" : "left"] = `${100 * place}%`;
      box.append(mark);
    }
  }
  function cursor(each, x, y) {
    for (const end of ["x1", "x2"]) each.cursor.setAttribute(end, x * WIDTH);
    each.dot.style.left = `${100 * x}%`;
    each.dot.style.bottom = `${100 * y}%`;
  }

  // The plots in an element: `label` when the scene is another, `show` the one called `key`.
  function curves(element, words) {
    const plots = Object.fromEntries(Object.keys(INSIDE).map((key) => [key, plot(key)]));
    element.prepend(...Object.values(plots).map((each) => each.box));

    function label({ schedule: { alphaBar, T }, spectrum }) {
      const count = Math.min(T, MOST_POINTS);
      const times = Array.from({ length: count + 1 }, (_, k) => Math.round((k / count) * T));
      const low = Math.min(-5, Math.floor(Math.max(-STEEPEST, logSnr(alphaBar[T]))));
      const level = (t) => (clamped(logSnr(alphaBar[t]), low, STEEPEST) - low) / (STEEPEST - low);
      plots.left.line.setAttribute("points", points(times.map((t) => [t / T, alphaBar[t]])));
      plots.left.dashed.setAttribute("points", points(times.map((t) => [t / T, level(t)])));
      const sides = [10, 0, -10].filter((value) => value >= low);
      ticks(plots.left, [
        ["tick name", words.log_snr, 1],
        ...sides.map((v) => ["tick", v, (v - low) / (STEEPEST - low)]),
        ["foot first", "t = 0", 0], ["foot last", T, 1]]);
      bell(plots.values);
      plots.detail.name.textContent = words.formula_noise;
      ticks(plots.detail,
        [["foot first", "1", 0], ["foot last", say(words, "cycles", { n: spectrum.length }), 1]]);
    }
    function bell(each) {
      each.line.setAttribute("points", points(Array.from({ length: 81 }, (_, k) => {
        const x = (k / 40 - 1) * REACH;
        return [k / 80, bars(Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI))];
      })));
      ticks(each, [["foot", "-2", 0.25], ["foot", "0", 0.5], ["foot", "2", 0.75]]);
    }
    // Pixels on their way to N(0, 1).
    function walk(scene, arrays, now) {
      let path = `M0 ${HEIGHT}`;
      histogram(arrays, scene.form, now).forEach((count, bin) => {
        const right = (((bin + 1) * WIDTH) / BINS).toFixed(1);
        path += `V${((1 - bars(count)) * HEIGHT).toFixed(1)}H${right}`;
      });
      plots.values.bars.setAttribute("d", `${path}V${HEIGHT}Z`);
    }
    // The picture's power at every frequency against that of the noise, alike at all.
    function detail(scene, now) {
      const { spectrum, form: { std } } = scene, most = spectrum.length, each = plots.detail;
      const height = (power) =>
        clamped((Math.log10(power + 1e-30) - POWERS[0]) / (POWERS[1] - POWERS[0]), 0, 1);
      const place = (cycles) => (most > 1 ? Math.log(cycles) / Math.log(most) : 0);
      const grain = height((1 - now.alphaBar) * std ** 2), last = finest(scene, now);
      each.line.setAttribute("points",
        points(spectrum.map((power, k) => [place(k + 1), height(now.alphaBar * power)])));
      for (const end of ["y1", "y2"]) each.level.setAttribute(end, (1 - grain) * HEIGHT);
      each.name.style.bottom = `${100 * grain}%`;
      each.box.classList.toggle("none", !last);
      cursor(each, place(last || 1), grain);
    }
    function show(key, scene, arrays, now) {
      for (const each of Object.values(plots)) each.box.hidden = each.key !== key;
      if (key === "left") cursor(plots.left, now.t / scene.schedule.T, now.alphaBar);
      if (key === "values") walk(scene, arrays, now);
      if (key === "detail") detail(scene, now);
    }
    return { label, show };
  }

  return { floats, halves: halves16, mix, logSnr, percent, three, say, unpack, paint, paintLatents, moments, klToPrior, finest, curves };
})();
