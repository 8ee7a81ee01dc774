// The script half of the host: runs StatsD backends inside a Node process, as the
// reference daemon does (StatsD specification sections 3 and 8). wire.go says what
// goes over file descriptor 3. Standard output belongs to the backends.
(function (require) {
  'use strict';
  const fs = require('fs'), net = require('net'), path = require('path'), util = require('util'), vm = require('vm');
  const Module = require('module'), EventEmitter = require('events');

  const kind = {
    setup: 1, start: 2, request: 3, ping: 4, interrupt: 5, stop: 6,
    hello: 15, ready: 16, failed: 17, progress: 18, reply: 19, pong: 20, error: 21, log: 22, stopped: 23,
    flush: 32, part: 33, packets: 34, status: 35, want: 40, received: 41,
  };
  const grace = 1000; // milliseconds for what was sent last to leave
  const errorsPerSecond = 20; // are told, others are counted
  const hasOwn = (object, name) => Object.prototype.hasOwnProperty.call(object, name);

  // ---- frames

  const wire = new net.Socket({ fd: 3, readable: true, writable: true });

  function send(what, payload) {
    const frame = Buffer.allocUnsafe(5 + payload.length);
    frame.writeUInt32BE(payload.length);
    frame[4] = what;
    payload.copy(frame, 5);
    wire.write(frame);
  }
  const empty = Buffer.alloc(0);
  const sendJSON = (what, value) => send(what, Buffer.from(JSON.stringify(value)));

  let done = 0n, calls = 0, busy = 0n;
  function progress(inWork) {
    const payload = Buffer.alloc(16);
    payload.writeBigUInt64BE(done);
    payload.writeBigUInt64BE(inWork, 8);
    send(kind.progress, payload);
  }

  // Chunks are put together once a frame is complete: a flush comes in hundreds of them.
  let chunks = [], have = 0, need = 5;
  wire.on('data', (chunk) => {
    chunks.push(chunk);
    have += chunk.length;
    while (have >= need) {
      const data = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      const size = data.readUInt32BE();
      if (have < 5 + size) {
        chunks = [data];
        need = 5 + size;
        return;
      }
      chunks = have > 5 + size ? [data.subarray(5 + size)] : [];
      have -= 5 + size;
      need = 5;
      take(data[4], data.subarray(5, 5 + size));
    }
  });
  wire.on('end', () => process.exit(1)); // the daemon is gone
  wire.on('error', () => process.exit(1));

  function take(what, payload) {
    switch (what) {
      case kind.setup: return setup(JSON.parse(payload));
      case kind.ping:
        return sendJSON(kind.pong, { sequence: JSON.parse(payload).sequence, calls, errors, busy: Number(busy) });
      case kind.stop: return stop();
      case kind.start: case kind.interrupt: return;
    }
    calls++;
    progress(done + 1n);
    const began = process.hrtime.bigint();
    if (what === kind.request) {
      const answer = payload[4] === kind.flush ? flush(payload.subarray(5)) : status(JSON.parse(payload.subarray(5)).now);
      send(kind.reply, Buffer.concat([payload.subarray(0, 4), Buffer.from([1]), Buffer.from(answer)]));
    } else if (what === kind.part) {
      parts.push(payload);
    } else if (what === kind.packets) {
      packets(payload);
    }
    busy += process.hrtime.bigint() - began;
    done++;
    progress(0n);
  }

  // ---- errors

  // describe is an error with the file and line it comes from, which are the first that are neither Node's nor these.
  function describe(e, prefix) {
    const stack = String(e && e.stack || '');
    const told = { message: (prefix || '') + (e instanceof Error ? e.name + ': ' + e.message : 'threw ' + util.inspect(e)), traceback: stack.split('\n').filter((line) => !/\(?weir-node-host\.js:|\(node:/.test(line)).join('\n') };
    const at = /^(\/.+):(\d+)\n/.exec(stack); // of a file that cannot be parsed
    if (at) {
      told.file = at[1];
      told.line = Number(at[2]);
      return told;
    }
    for (const line of stack.split('\n')) {
      const m = /^\s+at (?:.*\(|async )?(?:file:\/\/)?(\/[^()]+):(\d+):\d+\)?$/.exec(line);
      if (m) {
        told.file = m[1];
        told.line = Number(m[2]);
        break;
      }
    }
    return told;
  }

  let errors = 0, second = 0, told = 0;
  function report(e, where) {
    errors++;
    const now = Math.floor(Date.now() / 1000);
    if (now !== second) [second, told] = [now, 0];
    if (++told <= errorsPerSecond) sendJSON(kind.error, describe(e, where + ': '));
  }

  // guarded calls every listener of a kind, each for itself, and returns how many there are and how many threw.
  function guarded(event, args) {
    const listeners = events.rawListeners(event);
    let failed = 0;
    for (const listener of listeners) {
      try {
        listener.apply(events, args);
      } catch (e) {
        failed++;
        report(e, 'a listener of the event ' + event + ' threw');
      }
    }
    return { listeners: listeners.length, failed };
  }

  // ---- what backends are handed

  let config = {};
  const events = new EventEmitter();
  events.setMaxListeners(0);
  events.on('newListener', (event) => {
    if (event === 'packet' && events.listenerCount('packet') === 0) send(kind.want, Buffer.from([1]));
  });
  events.on('removeListener', (event) => {
    if (event === 'packet' && events.listenerCount('packet') === 0) send(kind.want, Buffer.from([0]));
  });

  const levels = { DEBUG: -4, INFO: 0, WARNING: 4, WARN: 4 }; // of log/slog; what a module calls otherwise is an error
  class Logger {
    constructor(options) {
      this.config = options || {};
      this.backend = this.config.backend || 'stdout';
      this.level = this.config.level || 'LOG_INFO';
      this.util = util;
    }
    log(msg, type) {
      const called = String(type || 'DEBUG');
      const level = hasOwn(levels, called) ? levels[called] : 8;
      sendJSON(kind.log, { level, kind: called, text: String(msg) });
    }
  }
  let logger;

  function put(object, name, value) { // also the name __proto__
    if (name === '__proto__') Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
    else object[name] = value;
  }

  class MetricSet {
    constructor() { this.store = {}; }
    has(value) { return value ? hasOwn(this.store, value) : false; }
    insert(value) { if (value) put(this.store, value, true); }
    clear() { this.store = {}; }
    values() { return Object.keys(this.store); }
    size() { return this.values().length; }
  }
  delete MetricSet.prototype.constructor; // in the reference daemon they print as plain objects

  let parts = [], older = new WeakSet(); // connections from before the last flush
  function flush(last) {
    older = new WeakSet(clients());
    const text = parts.length > 0 ? Buffer.concat([...parts, last]) : last;
    parts = [];
    const { ts, metrics: m, nf, processing } = JSON.parse(text);
    for (const [at, value] of nf) { // JSON has no such numbers
      let inside = m;
      for (const name of at.slice(0, -1)) inside = inside[name];
      inside[at[at.length - 1]] = Number(value);
    }
    for (const name of Object.keys(m.sets)) {
      const set = new MetricSet();
      for (const member of m.sets[name]) put(set.store, member, true);
      m.sets[name] = set;
    }
    const metrics = {
      counters: m.counters, gauges: m.gauges, timers: m.timers, timer_counters: m.timer_counters, sets: m.sets,
      counter_rates: m.counter_rates, timer_data: m.timer_data, pctThreshold: percentiles(), histogram: config.histogram,
      statsd_metrics: { processing_time: processing },
    };
    const result = guarded('flush', [ts, metrics]);
    for (const name of ['deleteCounters', 'deleteTimers', 'deleteSets', 'deleteGauges']) config[name] = config[name] || false;
    // The reference daemon goes on with the same objects: who kept them sees them reset.
    for (const name of Object.keys(metrics.counters)) metrics.counters[name] = 0;
    for (const name of Object.keys(metrics.timers)) metrics.timers[name] = [];
    for (const name of Object.keys(metrics.timer_counters)) metrics.timer_counters[name] = 0;
    for (const name of Object.keys(metrics.sets)) metrics.sets[name] = new MetricSet();
    return JSON.stringify(result);
  }

  function percentiles() {
    const given = config.percentThreshold || 90;
    return Array.isArray(given) ? given : [given];
  }

  // Of streams the reference daemon makes objects of this name.
  function rinfo(address, port, family, size) {
    Object.assign(this, { address, port, family, size });
  }

  const networks = ['udp', 'tcp', 'unix'];
  function packets(payload) {
    for (let at = 0; at < payload.length;) {
      const network = networks[payload[at]], addressLength = payload[at + 1];
      const address = addressLength > 0 ? payload.toString('latin1', at + 2, at + 2 + addressLength) : undefined;
      at += 2 + addressLength;
      const port = address === undefined ? undefined : payload.readUInt16BE(at), size = payload.readUInt32BE(at + 2);
      const data = payload.subarray(at + 6, at + 6 + size);
      at += 6 + size;
      const family = address === undefined ? undefined : address.includes(':') ? 'IPv6' : 'IPv4';
      if (network === 'udp') guarded('packet', [data, { address, family, port, size }]);
      else guarded('packet', [data.toString('ascii'), new rinfo(address, port, family, size)]);
    }
  }

  function status(now) {
    let text = '', open = true;
    const write = (error, name, stat, value) => {
      if (error) return logger.log('Failed to read stats for backend ' + name + ': ' + error, 'DEBUG');
      if (!open) return; // the answer is gone
      if (String(stat).startsWith('last_')) value = now - value;
      text += name + '.' + stat + ': ' + value + '\n';
    };
    guarded('status', [write]);
    open = false;
    return text;
  }

  // ---- loading

  // resolve is the file of a module. Only the module itself may be missing to look in the next place.
  function resolve(name, roots) {
    const looked = [], relative = /^\.\.?(\/|$)/.test(name);
    const places = relative || path.isAbsolute(name) ? roots : roots.concat(Module.globalPaths, globals());
    for (const root of path.isAbsolute(name) ? ['/'] : places) {
      looked.push(path.isAbsolute(name) ? name : root);
      const local = Module.createRequire(path.join(root, 'x.js'));
      try {
        return local.resolve(relative ? path.resolve(root, name) : name);
      } catch (e) {
        if (e.code !== 'MODULE_NOT_FOUND') throw e;
      }
      if (relative || path.isAbsolute(name)) continue;
      try { // a global directory holds modules itself
        return local.resolve(path.join(root, name));
      } catch (e) {
        if (e.code !== 'MODULE_NOT_FOUND') throw e;
      }
    }
    throw new Error("Cannot find module '" + name + "'; looked in " + looked.map((p) => '"' + p + '"').join(', '));
  }

  function globals() {
    const beside = path.join(path.dirname(process.execPath), '..', 'lib', 'node_modules');
    return [...new Set([beside, '/usr/local/lib/node_modules', '/usr/lib/node_modules'])];
  }

  function loadModule(name, roots) {
    const file = resolve(name, roots);
    return Module.createRequire(file)(file);
  }

  // readConfig evaluates the file as the right side of an assignment, in sloppy mode.
  function readConfig(file) {
    const text = fs.readFileSync(file, 'utf8').replace(/^\uFEFF/, '');
    const names = ['require', 'process', 'fs', 'util', 'module', 'exports', '__dirname', '__filename'];
    const run = vm.compileFunction('var config; config =\n' + text + '\n; return config;', names, { filename: file, lineOffset: -1 });
    const module = { exports: {} };
    const value = run(Module.createRequire(file), process, fs, util, module, module.exports, path.dirname(file), file);
    if (value === null || typeof value !== 'object') throw new Error('the file evaluates to ' + util.inspect(value) + ', not to an object');
    return value;
  }

  // fillIn sets what the reference daemon sets before backends are loaded.
  function fillIn(effective) {
    for (const name of Object.keys(effective.missing)) {
      if (config[name] === undefined) config[name] = effective.missing[name];
    }
    config.gaugesMaxTTL = effective.gaugesMaxTTL;
    if (config.deleteIdleStats === undefined) config.deleteIdleStats = false;
    if (config.deleteIdleStats) {
      for (const name of ['deleteCounters', 'deleteTimers', 'deleteSets', 'deleteGauges']) {
        if (config[name] === undefined) config[name] = true;
      }
    }
    config.flushInterval = effective.flushInterval;
  }

  // polyfill brings back what modules of StatsD's time use and Node has no more.
  function polyfill() {
    const add = (object, name, value) => { if (typeof object[name] !== 'function') object[name] = value; };
    const write = (stream, end) => (...args) => stream.write(args.map(String).join(end === '' ? '' : ' ') + end);
    const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
    add(util, 'log', (...args) => {
      const now = new Date(), two = (n) => String(n).padStart(2, '0');
      console.log('%d %s %s:%s:%s - %s', now.getDate(), months[now.getMonth()], two(now.getHours()), two(now.getMinutes()), two(now.getSeconds()), util.format(...args));
    });
    add(util, 'print', write(process.stdout, ''));
    add(util, 'puts', write(process.stdout, '\n'));
    add(util, 'debug', write(process.stderr, '\n'));
    add(util, 'error', write(process.stderr, '\n'));
    add(util, 'isArray', Array.isArray);
    add(util, 'isBoolean', (v) => typeof v === 'boolean');
    add(util, 'isBuffer', Buffer.isBuffer);
    add(util, 'isDate', util.types.isDate);
    add(util, 'isError', (v) => util.types.isNativeError(v) || v instanceof Error);
    add(util, 'isFunction', (v) => typeof v === 'function');
    add(util, 'isNull', (v) => v === null);
    add(util, 'isNullOrUndefined', (v) => v === null || v === undefined);
    add(util, 'isNumber', (v) => typeof v === 'number');
    add(util, 'isObject', (v) => v !== null && typeof v === 'object');
    add(util, 'isPrimitive', (v) => v === null || typeof v !== 'object' && typeof v !== 'function');
    add(util, 'isRegExp', util.types.isRegExp);
    add(util, 'isString', (v) => typeof v === 'string');
    add(util, 'isSymbol', (v) => typeof v === 'symbol');
    add(util, 'isUndefined', (v) => v === undefined);
    add(util, '_extend', (to, from) => Object.assign(to, from));
    // Daemons up to 0.7 leaked these, and modules rely on them.
    const prefix = config.prefixStats === undefined ? 'statsd' : config.prefixStats;
    Object.assign(globalThis, {
      prefixStats: prefix, bad_lines_seen: prefix + '.bad_lines_seen', packets_received: prefix + '.packets_received', metrics_received: prefix + '.metrics_received',
    });
  }

  function fail(e, name) {
    sendJSON(kind.failed, describe(e, name ? 'Failed to load ' + name + ': ' : ''));
    wire.end(() => process.exit(1));
  }

  function setup(s) {
    try {
      if (s.config) config = readConfig(s.config);
    } catch (e) {
      return fail(e, 'the configuration ' + JSON.stringify(s.config));
    }
    const entry = path.join(s.roots[0], 'stats.js');
    process.argv = [process.argv[0], entry].concat(s.config ? [s.config] : []);
    process.mainModule = Object.assign(new Module(entry), { filename: entry });
    fillIn(s.effective);
    polyfill();
    logger = new Logger(config.log);
    for (const server of s.servers) {
      try {
        const options = server.index < 0 ? config : config.servers[server.index];
        if (!loadModule(server.module, s.roots).start(options, received)) throw new Error('start returned no true: it refuses to start');
      } catch (e) {
        return fail(e, 'server: ' + server.module);
      }
    }
    for (const name of s.backends) {
      try {
        const module = loadModule(name, s.roots);
        if (typeof module.init !== 'function') throw new Error('it exports no function init(startup_time, config, events, logger)');
        if (!module.init(s.startup, config, events, logger)) throw new Error('init returned no true: it refuses to start');
      } catch (e) {
        return fail(e, 'backend: ' + name);
      }
    }
    send(kind.ready, empty);
  }

  // received takes a packet of a server module: a Buffer, or the text of whole lines.
  function received(packet, from) {
    const isText = !Buffer.isBuffer(packet), data = isText ? Buffer.from(String(packet)) : packet;
    const address = Buffer.from(from && typeof from.address === 'string' && net.isIP(from.address) ? from.address : '');
    const head = Buffer.alloc(2 + address.length + 6);
    head[0] = isText ? 1 : 0;
    head[1] = address.length;
    address.copy(head, 2);
    head.writeUInt16BE(from && from.port & 0xffff || 0, 2 + address.length);
    head.writeUInt32BE(data.length, 4 + address.length);
    send(kind.received, Buffer.concat([head, data]));
  }

  // ---- the end

  const clients = () => process._getActiveHandles().filter((h) => h !== wire && h instanceof net.Socket && !h.server && !h._isStdio && !h.destroyed);

  // unsent reports whether something that backends sent is still on its way. A connection made for the last flush is
  // theirs to close; one that was there before only has to be written to.
  function unsent() {
    if (process._getActiveRequests().some((r) => r.constructor.name !== 'FSReqCallback')) return true;
    return clients().some((h) => !older.has(h) || h.connecting || h.writableLength > 0 || h._httpMessage);
  }

  function stop() {
    const end = Date.now() + grace;
    let quiet = 0;
    const look = () => {
      quiet = unsent() ? 0 : quiet + 1;
      if (quiet < 5 && Date.now() < end) return setTimeout(look, 10);
      send(kind.stopped, empty);
      wire.end(() => process.exit(0));
    };
    look();
  }

  delete process.env.WEIR_NODE_HOST;
  sendJSON(kind.hello, { protocol: 1 });
})
