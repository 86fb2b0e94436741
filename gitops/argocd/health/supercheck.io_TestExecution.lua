-- Progressing until it is over, then the verdict. Without this, Argo CD takes an execution for
-- healthy as soon as it exists.
local phase = obj.status ~= nil and obj.status.phase or "Queued"
local told = obj.status ~= nil and obj.status.message or nil
if phase == "Passed" then
  return { status = "Healthy", message = told or "Passed" }
end
if phase == "Failed" or phase == "Error" or phase == "Cancelled" then
  local reason = obj.status.reason or phase
  return { status = "Degraded", message = phase .. " (" .. reason .. "): " .. (told or "no message") }
end
if phase == "Queued" and obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "spec.suspend is true" }
end
return { status = "Progressing", message = told or phase }
