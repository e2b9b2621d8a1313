{{- /* penstock's configuration: the file, and what the chart sets over it by environment variables, so that it holds
for an existing file as well. */ -}}

{{- define "penstock.hasConfig" -}}
{{- if not (or .Values.existingConfig.configMap .Values.existingConfig.secret) -}}yes{{- end -}}
{{- end -}}

{{- define "penstock.config" -}}
{{- $usual := dict "telemetry" (dict "log" (dict "format" "json")) -}}
{{- toYaml (mergeOverwrite $usual (deepCopy (default dict .Values.config))) -}}
{{- end -}}

{{- define "penstock.configKey" -}}
{{- ternary "penstock.yaml" .Values.existingConfig.key (eq (include "penstock.hasConfig" .) "yes") -}}
{{- end -}}

{{- /* A setting of `config`, or what penstock takes without it. Takes a dict: root, path (list), usual. */ -}}
{{- define "penstock.setting" -}}
{{- $at := .root.Values.config -}}
{{- range .path -}}
{{- $at = ternary (get (default dict $at) .) "" (kindIs "map" $at) -}}
{{- end -}}
{{- if kindIs "invalid" $at }}{{ .usual }}{{ else }}{{ default .usual (toString $at) }}{{ end -}}
{{- end -}}

{{- /* A setting that is a span of time, in milliseconds; takes the same. */ -}}
{{- define "penstock.span" -}}
{{- include "penstock.milliseconds" (include "penstock.setting" .) -}}
{{- end -}}

{{- /* The memory budget in whole MiB, and what batches and prefetch need of it in bytes. */ -}}
{{- define "penstock.budget" -}}
{{- if .Values.memory.budget -}}
{{- .Values.memory.budget -}}
{{- else -}}
{{- $limit := include "penstock.bytes" (dig "limits" "memory" "" .Values.resources) | int64 -}}
{{- printf "%dMiB" (div (mul $limit .Values.memory.budgetPercent) 104857600) -}}
{{- end -}}
{{- end -}}

{{- define "penstock.budgetNeeded" -}}
{{- $bytes := include "penstock.setting" (dict "root" . "path" (list "batch" "bytes_max") "usual" "32MiB") -}}
{{- $batches := include "penstock.setting" (dict "root" . "path" (list "batch" "in_flight_max") "usual" "4") -}}
{{- $prefetch := include "penstock.setting" (dict "root" . "path" (list "kafka" "prefetch") "usual" "64MiB") -}}
{{- $consumers := include "penstock.setting" (dict "root" . "path" (list "kafka" "consumers") "usual" "1") -}}
{{- add (mul 2 (include "penstock.bytes" $bytes) $batches) (mul (include "penstock.bytes" $prefetch) $consumers) -}}
{{- end -}}

{{- /* Ports of addresses such as host:9092, https://host:8443 or https://host, each once, sorted. */ -}}
{{- define "penstock.ports" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $usual := ternary ":443" ":80" (hasPrefix "https://" .) -}}
{{- $ports = append $ports (default $usual (regexFind ":[0-9]+$" (trimSuffix "/" .)) | trimPrefix ":") -}}
{{- end -}}
{{- toJson ($ports | uniq | sortAlpha) -}}
{{- end -}}

{{- define "penstock.tlsEnv" -}}
{{- $root := . -}}
{{- if .tls.existingSecret }}
{{- range $setting, $key := dict "CA_FILE" .tls.caKey "CERT_FILE" .tls.certKey "KEY_FILE" .tls.keyKey }}
{{- if $key }}
- name: {{ $root.prefix }}__{{ $setting }}
  value: /etc/penstock/secrets/{{ $root.folder }}/{{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.env" -}}
- name: PENSTOCK_CONFIG
  value: /etc/penstock/config/{{ include "penstock.configKey" . }}
- name: PENSTOCK__TELEMETRY__LISTEN
  value: {{ printf "%s:%d" .Values.metrics.bindAddress (int .Values.metrics.port) | quote }}
- name: PENSTOCK__TABLES__PATH
  value: /etc/penstock/tables
- name: PENSTOCK__SHUTDOWN__DRAIN
  value: {{ printf "%ds" (int .Values.shutdown.drainSeconds) }}
- name: PENSTOCK__MEMORY__BUDGET
  value: {{ include "penstock.budget" . | quote }}
{{- with .Values.kafka }}
{{- if .existingSecret.name }}
- name: PENSTOCK__KAFKA__SECURITY__PASSWORD_FILE
  value: /etc/penstock/secrets/kafka/{{ .existingSecret.passwordKey }}
{{- end }}
{{- include "penstock.tlsEnv" (dict "tls" .tls "prefix" "PENSTOCK__KAFKA__SECURITY" "folder" "kafka-tls") }}
{{- if and .tls.existingSecret .tls.keyPasswordKey }}
- name: PENSTOCK__KAFKA__SECURITY__KEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .tls.existingSecret }}, key: {{ .tls.keyPasswordKey }}}}
{{- end }}
{{- end }}
{{- with .Values.clickhouse }}
{{- if .existingSecret.name }}
- name: PENSTOCK__CLICKHOUSE__PASSWORD_FILE
  value: /etc/penstock/secrets/clickhouse/{{ .existingSecret.passwordKey }}
{{- end }}
{{- include "penstock.tlsEnv" (dict "tls" .tls "prefix" "PENSTOCK__CLICKHOUSE__TLS" "folder" "clickhouse-tls") }}
{{- end }}
{{- with .Values.control.existingSecret }}
{{- if .name }}
- name: PENSTOCK__TELEMETRY__CONTROL__KEY_FILE
  value: /etc/penstock/secrets/control/{{ .key }}
{{- end }}
{{- end }}
{{- if dig "telemetry" "traces" "endpoint" "" (default dict .Values.config) }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)
{{- end }}
{{- with .Values.extraEnv }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- /* Secrets that are mounted as folders, by the folder's name. */ -}}
{{- define "penstock.secrets" -}}
{{- $all := dict "kafka" .Values.kafka.existingSecret.name "kafka-tls" .Values.kafka.tls.existingSecret "clickhouse" .Values.clickhouse.existingSecret.name "clickhouse-tls" .Values.clickhouse.tls.existingSecret "control" .Values.control.existingSecret.name -}}
{{- range $folder, $secret := $all }}
{{- if $secret }}
{{ $folder }}: {{ $secret }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.volumeMounts" -}}
- {name: config, mountPath: /etc/penstock/config, readOnly: true}
- {name: tables, mountPath: /etc/penstock/tables, readOnly: true}
{{- range $folder, $secret := include "penstock.secrets" . | fromYaml }}
- {name: {{ $folder }}-secret, mountPath: /etc/penstock/secrets/{{ $folder }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- /* Whole folders, never single files of them: only those follow when the object changes. */ -}}
{{- define "penstock.configData" -}}
penstock.yaml: |
  {{- include "penstock.config" . | nindent 2 }}
{{- end -}}

{{- define "penstock.tablesData" -}}
{{- range $table, $files := .Values.tables.files }}
{{- range $file, $text := $files }}
{{ $table }}.{{ $file }}: {{ toJson $text }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.volumes" -}}
- name: config
{{- if .Values.existingConfig.secret }}
  secret: {secretName: {{ .Values.existingConfig.secret }}, defaultMode: 0440}
{{- else }}
  configMap: {name: {{ default (include "penstock.ownName" .) .Values.existingConfig.configMap }}}
{{- end }}
- name: tables
  projected:
    sources:
      {{- if .Values.tables.files }}
      - configMap:
          name: {{ include "penstock.ownName" . }}-tables
          items:
            {{- range $table, $files := .Values.tables.files }}
            {{- range $file, $text := $files }}
            - {key: {{ $table }}.{{ $file }}, path: {{ $table }}/{{ $file }}}
            {{- end }}
            {{- end }}
      {{- end }}
      {{- range .Values.tables.existing }}
      - configMap:
          name: {{ .configMap }}
          items:
            {{- $table := .table }}
            {{- range default (list "table.yaml") .keys }}
            - {key: {{ . }}, path: {{ $table }}/{{ . }}}
            {{- end }}
      {{- end }}
{{- range $folder, $secret := include "penstock.secrets" . | fromYaml }}
- name: {{ $folder }}-secret
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
