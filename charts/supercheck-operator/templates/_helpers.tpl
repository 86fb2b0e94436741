{{- define "supercheck.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "supercheck.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "supercheck.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "supercheck.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "supercheck.selector" -}}
app.kubernetes.io/name: {{ include "supercheck.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "supercheck.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "supercheck.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "supercheck.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "supercheck.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "supercheck.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "supercheck.webhookSecret" -}}
{{ include "supercheck.fullname" . }}-webhook
{{- end -}}

{{- define "supercheck.ownCertificates" -}}
{{- if eq .Values.certificates.mode "self" -}}true{{- end -}}
{{- end -}}

{{/* What the operator may do where executions are. */}}
{{- define "supercheck.rulesOfExecutions" -}}
- apiGroups: [supercheck.io]
  resources: [testexecutions]
  verbs: [get, list, watch, delete]
- apiGroups: [supercheck.io]
  resources: [testexecutions/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# Why a pod does not start is told by Events only; trouble is told to users by one.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Scripts.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
{{- end -}}

{{- define "supercheck.redisPassword" -}}
{{- with .Values.redis }}{{ if and .enabled .existingSecret (not .urlKey) }}true{{ end }}{{ end -}}
{{- end -}}

{{- define "supercheck.redisTls" -}}
{{- with .Values.redis }}{{ if and .enabled .tls.existingSecret }}true{{ end }}{{ end -}}
{{- end -}}

{{/* What the schema cannot say: values that are fine alone and not together. */}}
{{- define "supercheck.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.redis.enabled) -}}
{{- fail (printf "replicas is %d, but without Redis each replica would count capacity for itself: set redis.enabled=true, or replicas to 1 or 0." (int .Values.replicas)) -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.redis.host) (not .Values.redis.urlKey) -}}
{{- fail "redis.enabled is true, but nothing says where Redis is: set redis.host, or redis.existingSecret and redis.urlKey." -}}
{{- end -}}
{{- if and .Values.redis.urlKey (not .Values.redis.existingSecret) -}}
{{- fail "redis.urlKey names a key, but of no Secret: set redis.existingSecret." -}}
{{- end -}}
{{- if has .Release.Namespace .Values.watchNamespaces -}}
{{- fail (printf "watchNamespaces has %s, the operator's own namespace: what is submitted there is not judged." .Release.Namespace) -}}
{{- end -}}
{{- if ne (empty .Values.redis.tls.certKey) (empty .Values.redis.tls.keyKey) -}}
{{- fail "redis.tls.certKey and redis.tls.keyKey belong together." -}}
{{- end -}}
{{- if and .Values.redis.enabled (ge (int .Values.drainSeconds) (int .Values.terminationGracePeriodSeconds)) -}}
{{- fail "drainSeconds must be less than terminationGracePeriodSeconds." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled is true, but nothing says for which name: set ingress.host." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is true, but it belongs to no Gateway: set httpRoute.parentRefs." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.redis.urlKey (not .Values.networkPolicy.redisPorts) -}}
{{- fail "networkPolicy.enabled would keep Redis out of reach, whose ports only the URL in the Secret says: set networkPolicy.redisPorts." -}}
{{- end -}}
{{- if eq (int .Values.webhook.port) (int .Values.http.port) -}}
{{- fail "webhook.port and http.port must differ." -}}
{{- end -}}
{{- end -}}

{{/* What an address for the page leads to: no metrics, and no health, which ask nobody who they are. */}}
{{- define "supercheck.paths" -}}
- {path: /, type: Exact}
- {path: /api, type: Prefix}
- {path: /page, type: Prefix}
- {path: /login, type: Exact}
- {path: /logout, type: Exact}
{{- end -}}
