-- ltn12, mime, base64 and crypto.
local native = ...
local preload = package.preload
local concat, type, error = table.concat, type, error

preload.ltn12 = function()
  local M = { source = {}, sink = {}, pump = {}, BLOCKSIZE = 2048 }

  function M.source.empty() return function() return nil end end

  function M.source.string(s)
    if not s then return M.source.empty() end
    local at = 1
    return function()
      if at > #s then return nil end
      local chunk = s:sub(at, at + M.BLOCKSIZE - 1)
      at = at + M.BLOCKSIZE
      return chunk
    end
  end

  function M.source.error(err) return function() return nil, err end end

  function M.source.file(file, err)
    if not file then return M.source.error(err or "unable to open file") end
    return function()
      local chunk = file:read(M.BLOCKSIZE)
      if not chunk then file:close() end
      return chunk
    end
  end

  function M.sink.table(t)
    t = t or {}
    return function(chunk)
      if chunk then t[#t + 1] = chunk end
      return 1
    end, t
  end

  function M.sink.null() return function() return 1 end end

  function M.sink.error(err) return function() return nil, err end end

  function M.sink.file(file, err)
    if not file then return M.sink.error(err or "unable to open file") end
    return function(chunk)
      if chunk then return file:write(chunk) end
      file:close()
      return 1
    end
  end

  function M.pump.step(source, sink)
    local chunk, source_error = source()
    local ok, sink_error = sink(chunk, source_error)
    if chunk and ok then return 1 end
    return nil, source_error or sink_error
  end

  function M.pump.all(source, sink, step)
    if type(step) ~= "function" then step = M.pump.step end -- sink.table gives its table too
    while true do
      local ok, err = step(source, sink)
      if not ok then
        if err then return nil, err end
        return 1
      end
    end
  end

  return M
end

preload.mime = function()
  return {
    b64 = function(s)
      if s == nil then return nil end
      return native.b64(s), ""
    end,
    unb64 = function(s)
      if s == nil then return nil end
      return native.unb64(s), ""
    end,
  }
end

preload.base64 = function() return { encode = native.b64, decode = native.unb64 } end

preload.crypto = function()
  return { pkey = { from_pem = native.from_pem }, sign = native.sign }
end
