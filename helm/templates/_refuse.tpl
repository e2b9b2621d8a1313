{{- /* Refuses values that would fail later, or mislead: every fault at once, each beginning with its key. What a schema
can see is in values.schema.json. */ -}}
{{- define "penstock.refuse" -}}
{{- $faults := list -}}
{{- $values := .Values -}}
{{- $own := eq (include "penstock.hasConfig" .) "yes" -}}
{{- $config := default dict .Values.config -}}

{{- /* The configuration. */ -}}
{{- if $own -}}
  {{- if not (dig "kafka" "brokers" list $config) -}}
    {{- $faults = append $faults "config.kafka.brokers: name the brokers, such as [kafka-bootstrap.kafka:9092]" -}}
  {{- end -}}
  {{- if not (dig "clickhouse" "endpoints" list $config) -}}
    {{- $faults = append $faults "config.clickhouse.endpoints: name the servers, such as [http://clickhouse.db:8123]" -}}
  {{- end -}}
{{- else -}}
  {{- if $config -}}
    {{- $faults = append $faults "existingConfig: `config` is set as well; keep one of them" -}}
  {{- end -}}
  {{- if and $values.existingConfig.configMap $values.existingConfig.secret -}}
    {{- $faults = append $faults "existingConfig.secret: `existingConfig.configMap` is set as well; keep one of them" -}}
  {{- end -}}
{{- end -}}
{{- range dig "kafka" "brokers" list $config -}}
  {{- if not (regexMatch "^[^/@ ]+:[0-9]+$" .) -}}
    {{- $faults = append $faults (printf "config.kafka.brokers: %s is not host:port" .) -}}
  {{- end -}}
{{- end -}}
{{- range dig "clickhouse" "endpoints" list $config -}}
  {{- if not (regexMatch "^https?://[^/@ ]+/?$" .) -}}
    {{- $faults = append $faults (printf "config.clickhouse.endpoints: %s is not http://host:port or https://host:port, without a user" (regexReplaceAll "//.*@" . "//…@")) -}}
  {{- end -}}
{{- end -}}
{{- $elsewhere := list
  (list "telemetry" "listen" "metrics.port and metrics.bindAddress")
  (list "tables" "path" "tables.files or tables.existing")
  (list "shutdown" "drain" "shutdown.drainSeconds")
  (list "memory" "budget" "memory.budgetPercent or memory.budget")
  (list "clickhouse" "password_file" "clickhouse.existingSecret") -}}
{{- range $elsewhere -}}
  {{- if dig (index . 0) (index . 1) "" $config -}}
    {{- $faults = append $faults (printf "config.%s.%s: the chart sets it; use %s" (index . 0) (index . 1) (index . 2)) -}}
  {{- end -}}
{{- end -}}
{{- if dig "clickhouse" "password" "" $config -}}
  {{- $faults = append $faults "config.clickhouse.password: a password does not belong into values; use clickhouse.existingSecret" -}}
{{- end -}}
{{- range $key := list "password" "password_file" "key_password" -}}
  {{- if dig "kafka" "security" $key "" $config -}}
    {{- $faults = append $faults (printf "config.kafka.security.%s: secrets do not belong into values; use kafka.existingSecret or kafka.tls.existingSecret" $key) -}}
  {{- end -}}
{{- end -}}
{{- if $own -}}
  {{- $protocol := include "penstock.setting" (dict "root" . "path" (list "kafka" "security" "protocol") "usual" "plaintext") -}}
  {{- $mechanism := include "penstock.setting" (dict "root" . "path" (list "kafka" "security" "mechanism") "usual" "scram_sha_512") -}}
  {{- if and (hasPrefix "sasl_" $protocol) (ne $mechanism "gssapi") -}}
    {{- if not $values.kafka.existingSecret.name -}}
      {{- $faults = append $faults (printf "kafka.existingSecret.name: config.kafka.security.protocol is %s, so a Secret with the password is needed" $protocol) -}}
    {{- end -}}
    {{- if not (dig "kafka" "security" "username" "" $config) -}}
      {{- $faults = append $faults (printf "config.kafka.security.username: is missing for %s" $protocol) -}}
    {{- end -}}
  {{- else if and $values.kafka.existingSecret.name (not (hasPrefix "sasl_" $protocol)) -}}
    {{- $faults = append $faults (printf "kafka.existingSecret.name: config.kafka.security.protocol is %s, which does not log in; use sasl_ssl" $protocol) -}}
  {{- end -}}
  {{- if and $values.kafka.tls.existingSecret (not (has $protocol (list "ssl" "sasl_ssl"))) -}}
    {{- $faults = append $faults (printf "kafka.tls.existingSecret: config.kafka.security.protocol is %s, which does not encrypt; use ssl or sasl_ssl" $protocol) -}}
  {{- end -}}
  {{- $exact := eq (include "penstock.setting" (dict "root" . "path" (list "delivery") "usual" "at_least_once")) "exactly_once" -}}
  {{- if dig "kafka" "instance_id" "" $config -}}
    {{- $faults = append $faults "config.kafka.instance_id: every pod would have the same; leave it out" -}}
  {{- end -}}
  {{- $lease := include "penstock.milliseconds" (include "penstock.setting" (dict "root" . "path" (list "exactly_once" "lease") "usual" "1m")) | int64 -}}
  {{- $insert := min (include "penstock.milliseconds" (include "penstock.setting" (dict "root" . "path" (list "clickhouse" "insert_timeout") "usual" "1m")) | int64) (include "penstock.milliseconds" (include "penstock.setting" (dict "root" . "path" (list "clickhouse" "retry" "deadline") "usual" "30s")) | int64) -}}
  {{- if and $exact (lt $lease (mul 2 $insert)) -}}
    {{- $faults = append $faults "config.exactly_once.lease: is less than twice the time of an insert (config.clickhouse.insert_timeout, config.clickhouse.retry.deadline)" -}}
  {{- end -}}
  {{- $session := include "penstock.milliseconds" (include "penstock.setting" (dict "root" . "path" (list "kafka" "session_timeout") "usual" "45s")) | int64 -}}
  {{- if gt (mul 1000 $values.shutdown.drainSeconds) $session -}}
    {{- $faults = append $faults (printf "shutdown.drainSeconds: %d s is more than config.kafka.session_timeout (%d s), after which the group gives the partitions away" (int64 $values.shutdown.drainSeconds) (div $session 1000)) -}}
  {{- end -}}
{{- end -}}
{{- range $side := list "kafka" "clickhouse" -}}
  {{- $tls := get (get $values $side) "tls" -}}
  {{- if and $tls.existingSecret (ne (empty $tls.certKey) (empty $tls.keyKey)) -}}
    {{- $faults = append $faults (printf "%s.tls.%s: a client's certificate needs both certKey and keyKey" $side (ternary "certKey" "keyKey" (empty $tls.certKey))) -}}
  {{- end -}}
{{- end -}}
{{- if not (or $values.tables.files $values.tables.existing) -}}
  {{- $faults = append $faults "tables.files: there is no table; add one, for instance --set-file 'tables.files.clicks.table\\.yaml=schemas/clicks/table.yaml'" -}}
{{- end -}}
{{- range $values.tables.existing -}}
  {{- if hasKey $values.tables.files .table -}}
    {{- $faults = append $faults (printf "tables.existing: the table %s is in tables.files as well" .table) -}}
  {{- end -}}
{{- end -}}

{{- /* Time and memory. */ -}}
{{- $needed := include "penstock.graceSeconds" . | int64 -}}
{{- with $values.shutdown.terminationGracePeriodSeconds -}}
  {{- if lt (int64 .) $needed -}}
    {{- $faults = append $faults (printf "shutdown.terminationGracePeriodSeconds: %d is less than the %d s that a pod may need (preStopSleepSeconds + drainSeconds + 15); it would be killed while it writes" (int64 .) $needed) -}}
  {{- end -}}
{{- end -}}
{{- $limit := include "penstock.bytes" (dig "limits" "memory" "" $values.resources) | int64 -}}
{{- $budget := include "penstock.bytes" (include "penstock.budget" .) | int64 -}}
{{- if not $limit -}}
  {{- $faults = append $faults "resources.limits.memory: is needed as a number such as 1Gi, for the memory budget is a part of it" -}}
{{- else if and $values.memory.budget (gt (mul 100 $budget) (mul 85 $limit)) -}}
  {{- $faults = append $faults (printf "memory.budget: %s is more than 85 %% of resources.limits.memory, so the pod would be killed" $values.memory.budget) -}}
{{- else if lt $budget (include "penstock.budgetNeeded" . | int64) -}}
  {{- $faults = append $faults (printf "resources.limits.memory: the budget of %s is less than the %d MiB of batches (2 * config.batch.bytes_max * in_flight_max) and prefetch (config.kafka.prefetch * consumers)" (include "penstock.budget" .) (div (include "penstock.budgetNeeded" . | int64) 1048576)) -}}
{{- end -}}

{{- /* Around the pods. */ -}}
{{- if gt (int64 $values.autoscaling.minReplicas) (int64 $values.autoscaling.maxReplicas) -}}
  {{- $faults = append $faults "autoscaling.minReplicas: is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (eq $values.autoscaling.type "keda") (not $values.autoscaling.keda.serverAddress) -}}
  {{- $faults = append $faults "autoscaling.keda.serverAddress: name the Prometheus to ask, such as http://prometheus.monitoring:9090" -}}
{{- end -}}
{{- with $values.autoscaling.hpa -}}
  {{- if and (eq $values.autoscaling.type "hpa") (not (or .targetCPUUtilizationPercentage .lagMetric .extraMetrics)) -}}
    {{- $faults = append $faults "autoscaling.hpa: there is nothing to scale by; set targetCPUUtilizationPercentage or lagMetric" -}}
  {{- end -}}
  {{- if and (eq $values.autoscaling.type "hpa") .targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" $values.resources)) -}}
    {{- $faults = append $faults "resources.requests.cpu: is needed for autoscaling.hpa.targetCPUUtilizationPercentage" -}}
  {{- end -}}
{{- end -}}
{{- if and (ne (toString $values.metrics.podMonitor.enabled) "false") (ne (toString $values.metrics.serviceMonitor.enabled) "false") -}}
  {{- $faults = append $faults "metrics.serviceMonitor.enabled: every pod would be scraped twice; set metrics.podMonitor.enabled to false" -}}
{{- end -}}
{{- $known := list -}}
{{- range (.Files.Get "files/rules/penstock.rules.yaml" | fromYaml).groups -}}
  {{- range .rules -}}{{- with .alert -}}{{- $known = append $known . -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range $alert, $change := $values.metrics.prometheusRule.alerts -}}
  {{- if not (has $alert $known) -}}
    {{- $faults = append $faults (printf "metrics.prometheusRule.alerts.%s: there is no such alert" $alert) -}}
  {{- end -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (not $own) -}}
  {{- range $side := list "kafka" "clickhouse" -}}
    {{- if not (get $values.networkPolicy $side).ports -}}
      {{- $faults = append $faults (printf "networkPolicy.%s.ports: are needed with existingConfig, which the chart cannot read" $side) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- if $faults -}}
  {{- fail (printf "\n\n%s\n" (join "\n" $faults)) -}}
{{- end -}}
{{- end -}}
