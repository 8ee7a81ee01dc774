-- T.async (specification 3.9). Tasks run in states of their own, on other threads; results come back at the next tick.
local host = ...
local native, engine = host.native, host.engine
local error, ipairs, loadstring, tostring, type, dump = error, ipairs, loadstring, tostring, type, string.dump

local async, tasks, next_id, pending = {}, {}, 0, 0
host.T.async = async

-- The arguments, whether the object is before them or not.
local function arguments(a, ...)
  if a == async then return ... end
  return a, ...
end

local function queued(operation)
  async[operation] = function(...)
    local a, b, c = arguments(...)
    pending = pending + 1
    native.file(operation, tostring(a), b and tostring(b) or "", c)
  end
end
for _, operation in ipairs({ "cat", "copy", "rm", "copybuffer" }) do queued(operation) end

function async.schedule(...)
  local task = arguments(...)
  if type(task) ~= "table" or type(task.onexecute) ~= "function" then
    error("bad argument #1 to 'schedule' (a table with data and the function onexecute expected)", 2)
  end
  next_id, pending = next_id + 1, pending + 1
  tasks[next_id] = { data = task.data, onresult = task.onresult }
  native.schedule(next_id, dump(task.onexecute), task.data)
end

function async.pending_items() return pending end

-- Called on the instance's own thread when a task has ended; result is nil when it returned none.
function host.result(id, result)
  pending = pending - 1
  local task = tasks[id]
  tasks[id] = nil
  if task and result ~= nil and type(task.onresult) == "function" then
    host.call("onresult", task.onresult, engine, task.data, result)
  end
  host.finish()
end

-- In the state of a worker: runs a function that came as bytecode.
function host.execute(code, data)
  local f = loadstring(code, "=onexecute")
  local result = f(data)
  if type(result) == "string" then return result end
end
