---@meta
-- What collectors find in Weir, for the Lua language server of editors: add the folder of this file to
-- the setting Lua.workspace.library. Scripts do not load it.

---What the configuration gives the script.
---@type table<string, string|number|boolean>
options = {}

---@class collector_job
---@field id string tells the job from the others, the same at every refresh
---@field intervals? number[] seconds, 1 or more; that of the configuration when there are none
---@field start? number Unix time from which the intervals are counted
---@field params? any text, numbers, booleans, and tables of them: what perform_job gets

---Called at every refresh, once a minute: says which jobs there are.
---@return collector_job[] jobs
function jobs() end

---Called when a job is due.
---@param affecting_intervals number[] the intervals that are due, in seconds, ascending
---@param params any of the job
function perform_job(affecting_intervals, params) end

---Sends values; for perform_job. Raises an error when one of them is wrong, and sends none of them then.
---@param values table<string, number>|{p: string, v: number, t?: number}[] by path, or a list of paths with values and, when it is not now, Unix times
---@param account? integer whose values they are; that of the configuration without it
function send_results(values, account) end

---The devices of the inventory that have sensors of the protocol in the configuration; for jobs.
---@return table[] devices with account_id, entity_id, name, details, credential_details and sensors
function fetch_job_configs() end
