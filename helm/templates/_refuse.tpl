{{- /* Refuses values that would fail later, or mislead: every fault at once, each on a line that begins with its key.
What a schema can see is in values.schema.json. The parts below write the lines; the last one ends the rendering. */ -}}

{{- define "penstock.faults.addresses" }}
{{- $config := default dict .Values.config }}
{{- $brokers := dig "kafka" "brokers" list $config }}
{{- $endpoints := dig "clickhouse" "endpoints" list $config }}
{{- if include "penstock.hasConfig" . }}
{{- if not $brokers }}
config.kafka.brokers: name the brokers, such as [kafka-bootstrap.kafka:9092]
{{- end }}
{{- if not $endpoints }}
config.clickhouse.endpoints: name the servers, such as [http://clickhouse.db:8123]
{{- end }}
{{- end }}
{{- range $brokers }}
{{- if not (regexMatch "^[^/@ ]+:[0-9]+$" .) }}
config.kafka.brokers: {{ . }} is not host:port
{{- end }}
{{- end }}
{{- range $endpoints }}
{{- if not (regexMatch "^https?://[^/@ ]+/?$" .) }}
config.clickhouse.endpoints: {{ regexReplaceAll "//.*@" . "//…@" }} is not http://host:port or https://host:port, without a user
{{- end }}
{{- end }}
{{- with dig "telemetry" "traces" "endpoint" "" (default dict .Values.config) }}
{{- if not (regexMatch "^https?://[^/@ ?#]+(/[^ ?#]*)?$" .) }}
config.telemetry.traces.endpoint: {{ regexReplaceAll "//.*@" . "//…@" }} is not http://host:port or https://host:port, without a user
{{- end }}
{{- end }}
{{- end }}

{{- /* What belongs elsewhere than into `config`. */ -}}
{{- define "penstock.faults.elsewhere" }}
{{- $config := default dict .Values.config }}
{{- if and $config (not (include "penstock.hasConfig" .)) }}
existingConfig: `config` is set as well; keep one of them
{{- end }}
{{- if and .Values.existingConfig.configMap .Values.existingConfig.secret }}
existingConfig.secret: `existingConfig.configMap` is set as well; keep one of them
{{- end }}
{{- $set := dict
  "telemetry.listen" "metrics.port and metrics.bindAddress"
  "tables.path" "tables.files or tables.existing"
  "shutdown.drain" "shutdown.drainSeconds"
  "memory.budget" "memory.budgetPercent or memory.budget" }}
{{- range $key, $instead := $set }}
{{- $path := splitList "." $key }}
{{- if dig (first $path) (last $path) "" $config }}
config.{{ $key }}: the chart sets it; use {{ $instead }}
{{- end }}
{{- end }}
{{- range list "password" "password_file" }}
{{- if dig "clickhouse" . "" $config }}
config.clickhouse.{{ . }}: a password does not belong into values; use clickhouse.existingSecret
{{- end }}
{{- end }}
{{- range list "password" "password_file" "key_password" }}
{{- if dig "kafka" "security" . "" $config }}
config.kafka.security.{{ . }}: secrets do not belong into values; use kafka.existingSecret or kafka.tls.existingSecret
{{- end }}
{{- end }}
{{- if dig "telemetry" "traces" "headers" "" $config }}
config.telemetry.traces.headers: secrets do not belong into values; use extraEnv with PENSTOCK__TELEMETRY__TRACES__HEADERS__name from a Secret
{{- end }}
{{- if dig "kafka" "instance_id" "" $config }}
config.kafka.instance_id: every pod would have the same; leave it out
{{- end }}
{{- end }}

{{- define "penstock.faults.security" }}
{{- if include "penstock.hasConfig" . }}
{{- $security := dig "kafka" "security" dict (default dict .Values.config) }}
{{- $protocol := default "plaintext" $security.protocol }}
{{- $secret := .Values.kafka.existingSecret.name }}
{{- if and (hasPrefix "sasl_" $protocol) (ne (default "" $security.mechanism) "gssapi") }}
{{- if not $secret }}
kafka.existingSecret.name: config.kafka.security.protocol is {{ $protocol }}, so a Secret with the password is needed
{{- end }}
{{- if not $security.username }}
config.kafka.security.username: is missing for {{ $protocol }}
{{- end }}
{{- end }}
{{- if and $secret (not (hasPrefix "sasl_" $protocol)) }}
kafka.existingSecret.name: config.kafka.security.protocol is {{ $protocol }}, which does not log in; use sasl_ssl
{{- end }}
{{- if and .Values.kafka.tls.existingSecret (not (has $protocol (list "ssl" "sasl_ssl"))) }}
kafka.tls.existingSecret: config.kafka.security.protocol is {{ $protocol }}, which does not encrypt; use ssl or sasl_ssl
{{- end }}
{{- end }}
{{- range $side, $tls := dict "kafka" .Values.kafka.tls "clickhouse" .Values.clickhouse.tls }}
{{- if and $tls.existingSecret (ne (empty $tls.certKey) (empty $tls.keyKey)) }}
{{ $side }}.tls.{{ ternary "certKey" "keyKey" (empty $tls.certKey) }}: a client's certificate needs both certKey and keyKey
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.faults.tables" }}
{{- if not (or .Values.tables.files .Values.tables.existing) }}
tables.files: there is no table; add one, for instance --set-file 'tables.files.clicks.table\.yaml=schemas/clicks/table.yaml'
{{- end }}
{{- range .Values.tables.existing }}
{{- if hasKey (default dict $.Values.tables.files) .table }}
tables.existing: the table {{ .table }} is in tables.files as well
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.faults.times" }}
{{- $needed := include "penstock.graceSeconds" . | int64 }}
{{- $given := .Values.shutdown.terminationGracePeriodSeconds }}
{{- if and $given (lt (int64 $given) $needed) }}
shutdown.terminationGracePeriodSeconds: {{ $given }} is less than the {{ $needed }} s that a pod may need (preStopSleepSeconds + drainSeconds + 15); it would be killed while it writes
{{- end }}
{{- if include "penstock.hasConfig" . }}
{{- $session := include "penstock.span" (dict "root" . "path" (list "kafka" "session_timeout") "usual" "45s") | int64 }}
{{- if gt (mul 1000 .Values.shutdown.drainSeconds) $session }}
shutdown.drainSeconds: {{ .Values.shutdown.drainSeconds }} s is more than config.kafka.session_timeout ({{ div $session 1000 }} s), after which the group gives the partitions away
{{- end }}
{{- $exact := eq (include "penstock.setting" (dict "root" . "path" (list "delivery") "usual" "")) "exactly_once" }}
{{- $lease := include "penstock.span" (dict "root" . "path" (list "exactly_once" "lease") "usual" "1m") | int64 }}
{{- $insert := include "penstock.span" (dict "root" . "path" (list "clickhouse" "insert_timeout") "usual" "1m") | int64 }}
{{- $retry := include "penstock.span" (dict "root" . "path" (list "clickhouse" "retry" "deadline") "usual" "30s") | int64 }}
{{- if and $exact (lt $lease (mul 2 (min $insert $retry))) }}
config.exactly_once.lease: is less than twice the time of an insert (config.clickhouse.insert_timeout, config.clickhouse.retry.deadline)
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.faults.memory" }}
{{- $limit := include "penstock.bytes" (dig "limits" "memory" "" .Values.resources) | int64 }}
{{- $budget := include "penstock.budget" . }}
{{- $needed := include "penstock.budgetNeeded" . | int64 }}
{{- if not $limit }}
resources.limits.memory: is needed as a number such as 1Gi, for the memory budget is a part of it
{{- else if and .Values.memory.budget (gt (mul 100 (include "penstock.bytes" $budget)) (mul 85 $limit)) }}
memory.budget: {{ $budget }} is more than 85 % of resources.limits.memory, so the pod would be killed
{{- else if lt (include "penstock.bytes" $budget | int64) $needed }}
resources.limits.memory: the budget of {{ $budget }} is less than the {{ div $needed 1048576 }} MiB of batches (2 * config.batch.bytes_max * in_flight_max) and prefetch (config.kafka.prefetch * consumers)
{{- end }}
{{- end }}

{{- define "penstock.faults.scaling" }}
{{- with .Values.autoscaling }}
{{- if gt (int64 .minReplicas) (int64 .maxReplicas) }}
autoscaling.minReplicas: is more than autoscaling.maxReplicas
{{- end }}
{{- if and (eq .type "keda") (not .keda.serverAddress) }}
autoscaling.keda.serverAddress: name the Prometheus to ask, such as http://prometheus.monitoring:9090
{{- end }}
{{- if eq .type "hpa" }}
{{- if not (or .hpa.targetCPUUtilizationPercentage .hpa.lagMetric .hpa.extraMetrics) }}
autoscaling.hpa: there is nothing to scale by; set targetCPUUtilizationPercentage or lagMetric
{{- end }}
{{- if and .hpa.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" $.Values.resources)) }}
resources.requests.cpu: is needed for autoscaling.hpa.targetCPUUtilizationPercentage
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.faults.around" }}
{{- if not (or (eq (toString .Values.metrics.podMonitor.enabled) "false") (eq (toString .Values.metrics.serviceMonitor.enabled) "false")) }}
metrics.serviceMonitor.enabled: every pod would be scraped twice; set metrics.podMonitor.enabled to false
{{- end }}
{{- $rules := printf "%s%s" (.Files.Get "files/rules/penstock.rules.yaml") (.Files.Get "files/rules/admin.rules.yaml") }}
{{- range $alert, $change := .Values.metrics.prometheusRule.alerts }}
{{- if not (contains (printf "- alert: %s\n" $alert) $rules) }}
metrics.prometheusRule.alerts.{{ $alert }}: there is no such alert
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not (include "penstock.hasConfig" .)) }}
{{- range $side, $known := pick .Values.networkPolicy "kafka" "clickhouse" }}
{{- if not $known.ports }}
networkPolicy.{{ $side }}.ports: are needed with existingConfig, which the chart cannot read
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.faults.admin" }}
{{- $config := default dict .Values.config }}
{{- with .Values.admin }}
{{- if .enabled }}
{{- if not .existingSecret.name }}
admin.existingSecret.name: a Secret with the keys `{{ .existingSecret.tokenKey }}` and `{{ .existingSecret.auditKey }}` is needed
{{- end }}
{{- if and (gt (int64 .replicaCount) 1) (not .audit.existingClaim) (not (has "ReadWriteMany" .audit.accessModes)) }}
admin.replicaCount: more than one pod needs admin.audit.accessModes [ReadWriteMany], or an admin.audit.existingClaim that has it
{{- end }}
{{- if eq (int64 .port) (int64 $.Values.metrics.port) }}
admin.port: is metrics.port as well
{{- end }}
{{- end }}
{{- end }}
{{- $set := dict "listen" "admin.port and admin.bindAddress" "tls" "admin.tls" }}
{{- range $key, $instead := $set }}
{{- if dig "admin" $key "" $config }}
config.admin.{{ $key }}: the chart sets it; use {{ $instead }}
{{- end }}
{{- end }}
{{- range list (list "audit" "file") (list "audit" "key_file") (list "access" "key_file") }}
{{- if dig "admin" (first .) (last .) "" $config }}
config.admin.{{ join "." . }}: the chart sets it; use admin.existingSecret and admin.audit
{{- end }}
{{- end }}
{{- if or (dig "telemetry" "control" "key_file" "" $config) (dig "admin" "console" "control_key_file" "" $config) }}
config.telemetry.control.key_file, config.admin.console.control_key_file: the chart sets them; use control.existingSecret
{{- end }}
{{- if dig "migrations" "path" "" $config }}
config.migrations.path: the chart sets it; use migrations.files or migrations.existingConfigMap
{{- end }}
{{- with .Values.migrations }}
{{- if and .files .existingConfigMap }}
migrations.existingConfigMap: `migrations.files` is set as well; keep one of them
{{- end }}
{{- if and (ne .mode "manual") (not (or .files .existingConfigMap)) }}
migrations.mode: there are no files; set migrations.files or migrations.existingConfigMap
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.refuse" -}}
{{- $faults := "" -}}
{{- range list "addresses" "elsewhere" "security" "tables" "times" "memory" "scaling" "around" "admin" -}}
{{- $faults = print $faults (include (printf "penstock.faults.%s" .) $) -}}
{{- end -}}
{{- if trim $faults -}}
{{- fail (printf "\n\n%s\n" (trim $faults)) -}}
{{- end -}}
{{- end -}}
