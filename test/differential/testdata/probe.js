// A backend that writes down everything it is handed, one line each, to config.probe.
var fs = require('fs'), util = require('util');

exports.init = function (startup, config, events, logger) {
  function note(what, value) {
    var text = util.inspect(value, { depth: 10, maxArrayLength: null, maxStringLength: null, breakLength: Infinity, compact: true });
    fs.appendFileSync(config.probe, what + ' ' + text + '\n');
  }
  var flushes = 0;
  note('startup', [typeof startup, startup % 1, Math.abs(startup - Date.now() / 1000) < 5]);
  note('config', config);
  note('calls', [config.f(2), config.r.test('abc'), config.r instanceof RegExp]);
  note('logger', [logger.config, logger.backend, logger.level, logger.util === util, typeof logger.log]);
  note('arguments', [process.argv.length, /config\.js$/.test(process.argv[2]), /stats\.js$/.test(process.argv[1]), this === exports]);
  note('emitter', [events instanceof require('events').EventEmitter]);
  events.on('flush', function (ts, metrics) {
    setImmediate(function () { note('after', [metrics.counters, metrics.timers, metrics.timer_counters, metrics.sets]); });
    note('timestamp', [typeof ts, ts % 1, Math.abs(ts - Date.now() / 1000) < 5, arguments.length, this === events]);
    metrics.statsd_metrics.processing_time = typeof metrics.statsd_metrics.processing_time;
    var lag = Object.keys(metrics.gauges).filter(function (k) { return /timestamp_lag$/.test(k); })[0];
    if (lag) metrics.gauges[lag] = typeof metrics.gauges[lag];
    note('flush', metrics);
    delete config.graphite; // of the backend in JavaScript
    note('flushed config', config);
    for (var name in metrics.sets) {
      var s = metrics.sets[name];
      note('set', [name, s.size(), s.values(), s.has('u1'), s.has(''), s.has('nobody'), Object.keys(s), JSON.stringify(s)]);
    }
    flushes++;
  });
  events.on('packet', function (packet, rinfo) {
    rinfo.port = typeof rinfo.port;
    note('packet', [packet, Buffer.isBuffer(packet), typeof packet, rinfo, arguments.length]);
  });
  events.on('status', function (write) {
    write(null, 'probe', 'flushes', flushes > 0);
    write(null, 'probe', 'text', 'some text');
    write(undefined, 'other', 'number', 1.50);
    write(null, 'other', 'last_seen', 'never');
    write('some error', 'probe', 'broken', 1);
    write(false, 'probe', 'nothing', undefined);
    write(null, 'probe', 'list', [1, 2]);
    write(null, 'probe', 'lastly', 1e21);
  });
  logger.log('probe is up', 'INFO');
  logger.log('no type');
  logger.log('error', 'swapped arguments');
  return true;
};
