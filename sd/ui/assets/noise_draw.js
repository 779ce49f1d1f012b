// What the Noise tab's stage draws with: numbers, pictures and curves. Nothing here knows the page.
const sdDraw = (() => {
  "use strict";
  const BINS = 48, REACH = 4; // of the histogram, from -4 to 4
  const TALLEST = 0.8; // density that fills the histogram's height
  const WIDTH = 600, HEIGHT = 160; // of a curve's viewBox
  const STEEPEST = 12; // where the drawn log SNR is cut
  const MOST_POINTS = 300; // of a drawn schedule
  const POWERS = [-4, 4]; // decades of the drawn spectrum

  // Numbers.

  const floats = (text) =>
    new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
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
  const three = (value) =>
    Number.isFinite(value) ? String(Number(value.toPrecision(3))) : value > 0 ? "∞" : "-∞";
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

  // Curves: grey lines, the accent for where t is now.

  const SVG = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">`;
  const LINE = '<polyline class="line"/>';
  const CURSOR = `<line class="cursor" y1="0" y2="${HEIGHT}"/>`;
  const across = (kind) => `<line class="${kind}" x1="0" x2="${WIDTH}"/>`;
  const INSIDE = {
    alpha_bar: LINE + CURSOR,
    log_snr: across("rule") + LINE + CURSOR,
    histogram: '<path class="bars"/>' + LINE,
    spectrum: across("level") + LINE + CURSOR,
  };
  const points = (pairs) =>
    pairs.map(([x, y]) => `${(x * WIDTH).toFixed(1)},${((1 - y) * HEIGHT).toFixed(1)}`).join(" ");
  const bars = (density) => Math.min(1, density / TALLEST);
  const clamped = (value, low, high) => Math.max(low, Math.min(high, value));

  function plot(key) {
    const box = document.createElement("div");
    box.className = `plot plot-${key}`;
    box.innerHTML =
      '<p class="curve-name"><abbr tabindex="0"></abbr><b></b></p><div class="curve" role="img">' +
      `${SVG}${INSIDE[key]}</svg><span class="dot"></span></div>`;
    const pick = (selector) => box.querySelector(selector);
    return { key, box, name: pick("abbr"), value: pick("b"), curve: pick(".curve"), dot: pick(".dot"),
      line: pick(".line"), cursor: pick(".cursor"), bars: pick(".bars"), level: pick(".level"),
      rule: pick(".rule") };
  }
  function ticks(each, marks) {
    each.curve.querySelectorAll(".tick, .foot").forEach((mark) => mark.remove());
    for (const [kind, text, place] of marks) {
      const mark = document.createElement("span");
      mark.className = kind;
      mark.textContent = text;
      mark.style[kind.startsWith("tick") ? "bottom" : "left"] = `${100 * place}%`;
      each.curve.append(mark);
    }
  }
  function lie(line, share) {
    for (const end of ["y1", "y2"]) line.setAttribute(end, (1 - share) * HEIGHT);
  }
  function cursor(each, x, y) {
    for (const end of ["x1", "x2"]) each.cursor.setAttribute(end, x * WIDTH);
    each.dot.style.left = `${100 * x}%`;
    each.dot.style.bottom = `${100 * y}%`;
  }

  // The four plots in an element: `label` when the scene is another, `show` whenever t moves.
  function curves(element) {
    const plots = Object.fromEntries(Object.keys(INSIDE).map((key) => [key, plot(key)]));
    let low = 0;
    element.classList.add("sd-live");
    element.replaceChildren(...Object.values(plots).map((each) => each.box));
    const snrAt = (value) => (clamped(value, low, STEEPEST) - low) / (STEEPEST - low);
    const heights = { alpha_bar: (alphaBar) => alphaBar, log_snr: (alphaBar) => snrAt(logSnr(alphaBar)) };

    function label({ schedule, spectrum, words }) {
      for (const [key, each] of Object.entries(plots)) {
        each.name.textContent = words[key];
        each.name.title = words[`${key}_about`];
      }
      const { alphaBar, T } = schedule, count = Math.min(T, MOST_POINTS);
      const times = Array.from({ length: count + 1 }, (_, k) => Math.round((k / count) * T));
      low = Math.min(-5, Math.floor(Math.max(-STEEPEST, logSnr(alphaBar[T]))));
      for (const [key, height] of Object.entries(heights)) {
        plots[key].line.setAttribute("points", points(times.map((t) => [t / T, height(alphaBar[t])])));
      }
      lie(plots.log_snr.rule, snrAt(0));
      const ends = [["foot first", "t = 0", 0], ["foot last", T, 1]];
      const marks = [-10, 0, 10].filter((value) => value >= low);
      ticks(plots.alpha_bar, [["tick top", "1", 1], ...ends]);
      ticks(plots.log_snr, [...marks.map((v) => [v > 0 ? "tick top" : "tick", v, snrAt(v)]), ...ends]);
      bell(plots.histogram);
      ticks(plots.spectrum,
        [["foot first", "1", 0], ["foot last", say(words, "cycles", { n: spectrum.length }), 1]]);
    }
    function bell(each) {
      each.line.setAttribute("points", points(Array.from({ length: 81 }, (_, k) => {
        const x = (k / 40 - 1) * REACH;
        return [k / 80, bars(Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI))];
      })));
      ticks(each, [["foot", "-2", 0.25], ["foot", "0", 0.5], ["foot", "2", 0.75]]);
    }
    function tell({ schedule, words }, each, now, value) {
      each.value.textContent = value;
      each.curve.setAttribute("aria-label",
        say(words, "curve_alt", { name: words[each.key], value, T: schedule.T, t: now.t }));
    }
    function show(scene, arrays, now) {
      const values = { alpha_bar: three(now.alphaBar), log_snr: three(logSnr(now.alphaBar)) };
      for (const [key, height] of Object.entries(heights)) {
        cursor(plots[key], now.t / scene.schedule.T, height(now.alphaBar));
        tell(scene, plots[key], now, values[key]);
      }
      walk(scene, arrays, now);
      detail(scene, now);
    }
    // Pixels on their way to N(0, 1), and KL(q(w_t | w_0) || N(0, 1)) of two Gaussians, per value.
    function walk(scene, arrays, now) {
      let path = `M0 ${HEIGHT}`;
      histogram(arrays, scene, now).forEach((count, bin) => {
        const right = (((bin + 1) * WIDTH) / BINS).toFixed(1);
        path += `V${((1 - bars(count)) * HEIGHT).toFixed(1)}H${right}`;
      });
      plots.histogram.bars.setAttribute("d", `${path}V${HEIGHT}Z`);
      const { alphaBar } = now, power = scene.power / scene.std ** 2;
      const kl = 0.5 * (alphaBar * power - alphaBar - Math.log(1 - alphaBar));
      tell(scene, plots.histogram, now, say(scene.words, "nats", { n: three(kl) }));
    }
    // The picture's power at every frequency against that of the noise, alike at all.
    function detail(scene, now) {
      const { spectrum, std, words } = scene, most = spectrum.length, each = plots.spectrum;
      const grain = (1 - now.alphaBar) * std ** 2;
      const height = (power) =>
        clamped((Math.log10(power + 1e-30) - POWERS[0]) / (POWERS[1] - POWERS[0]), 0, 1);
      const place = (cycles) => (most > 1 ? Math.log(cycles) / Math.log(most) : 0);
      let finest = 0;
      each.line.setAttribute("points", points(spectrum.map((power, k) => {
        if (now.alphaBar * power > grain) finest = k + 1;
        return [place(k + 1), height(now.alphaBar * power)];
      })));
      lie(each.level, height(grain));
      each.box.classList.toggle("none", !finest);
      cursor(each, place(finest || 1), height(grain));
      tell(scene, each, now, say(words, finest ? "finest" : "none", { n: finest, most }));
    }
    return { label, show };
  }

  return { floats, mix, logSnr, percent, three, say, unpack, paint, curves };
})();
