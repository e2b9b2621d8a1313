{{- /* Where pods may go: DNS, Kafka, ClickHouse, the receiver of traces, and what the values add. */ -}}

{{- define "penstock.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- $addresses := dict "kafka" (dig "kafka" "brokers" list (default dict .Values.config)) "clickhouse" (dig "clickhouse" "endpoints" list (default dict .Values.config)) }}
{{- $sides := list "kafka" "clickhouse" }}
{{- with dig "telemetry" "traces" "endpoint" "" (default dict .Values.config) }}
{{- $addresses = set $addresses "otlp" (list (regexReplaceAll "^(https?://[^/]+).*" . "${1}")) }}
{{- $sides = append $sides "otlp" }}
{{- end }}
{{- range $side := $sides }}
{{- $known := get $.Values.networkPolicy $side }}
- ports:
    {{- range default (include "penstock.ports" (get $addresses $side) | fromJsonArray) $known.ports }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with $known.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
