-- A queue that somebody stopped is suspended; a full one is healthy, and says that it is full.
local status = obj.status or {}
local policy = obj.spec ~= nil and obj.spec.stopPolicy or "None"
if policy ~= "None" then
  return { status = "Suspended", message = "stopPolicy is " .. policy }
end
local seen = status.observedGeneration
if seen == nil or (obj.metadata.generation ~= nil and seen < obj.metadata.generation) then
  return { status = "Progressing", message = "not seen by the operator yet" }
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Saturated" and condition.status == "True" then
    return { status = "Healthy", message = condition.message or "full" }
  end
end
return { status = "Healthy", message = "" }
