-- Queues of formatted events, one for each kind. A queue is sent when it has more
-- events than max_buffer_size, in parts of that size, and all are sent when the last
-- time is longer ago than max_all_queues_age.

local flush = {}
flush.__index = flush

function flush.new(parameters, logger, send)
  return setmetatable({ parameters = parameters, logger = logger, send = send, queues = {}, last = os.time() }, flush)
end

function flush:add(kind, event)
  local queue = self.queues[kind] or {}
  self.queues[kind] = queue
  queue[#queue + 1] = event
end

-- deliver sends a queue. What was sent is taken out of it.
function flush:deliver(queue)
  while queue[1] do
    local part = {}
    for i = 1, math.min(#queue, self.parameters.max_buffer_size) do
      part[i] = queue[i]
    end
    local ok, why = pcall(self.send, part)
    if not ok then
      self.logger:error("cannot send " .. #part .. " events: " .. tostring(why))
      return false
    end
    for _ in ipairs(part) do
      table.remove(queue, 1)
    end
  end
  return true
end

-- run returns true when nothing is left.
function flush:run()
  local old = os.time() - self.last > self.parameters.max_all_queues_age
  local empty = true
  for _, queue in pairs(self.queues) do
    if queue[1] and (old or #queue > self.parameters.max_buffer_size) then
      if self:deliver(queue) then
        self.last = os.time()
      end
    end
    empty = empty and queue[1] == nil
  end
  if old then
    self.last = os.time()
  end
  return empty
end

return flush
