{{- /* What the pods of the admin process and of migrations have beside what all pods have. */ -}}

{{- define "penstock.adminName" -}}
{{- printf "%s-admin" (include "penstock.fullname" .) -}}
{{- end -}}

{{- /* Their own name, so that nothing that selects the pods of the line selects them. Takes a dict: root, part. */ -}}
{{- define "penstock.partLabels" -}}
app.kubernetes.io/name: {{ printf "%s-%s" (include "penstock.name" .root) .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "penstock.hasMigrations" -}}
{{- if or .Values.migrations.files .Values.migrations.existingConfigMap -}}yes{{- end -}}
{{- end -}}

{{- define "penstock.migrationsEnv" -}}
{{- if include "penstock.hasMigrations" . }}
- name: PENSTOCK__MIGRATIONS__PATH
  value: /etc/penstock/migrations
{{- end }}
{{- end -}}

{{- define "penstock.migrationsMount" -}}
{{- if include "penstock.hasMigrations" . }}
- {name: migrations, mountPath: /etc/penstock/migrations, readOnly: true}
{{- end }}
{{- end -}}

{{- define "penstock.migrationsVolume" -}}
{{- if include "penstock.hasMigrations" . }}
- name: migrations
  configMap: {name: {{ default (printf "%s-migrations" (include "penstock.ownName" .)) .Values.migrations.existingConfigMap }}}
{{- end }}
{{- end -}}

{{- define "penstock.migrationsData" -}}
{{- range $file, $text := .Values.migrations.files }}
{{ $file }}: {{ toJson $text }}
{{- end }}
{{- end -}}

{{- /* Of what is made before the release: left over from a try that was cut off, it gives way to the next. What the Job needs
goes with its success; the Job itself stays for its log, also when it failed. Takes a dict: weight, isJob. */ -}}
{{- define "penstock.hookAnnotations" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation{{ if not .isJob }},hook-succeeded{{ end }}
{{- end -}}

{{- define "penstock.adminEnv" -}}
- name: PENSTOCK__ADMIN__LISTEN
  value: {{ printf "%s:%d" .Values.admin.bindAddress (int .Values.admin.port) | quote }}
- name: PENSTOCK__ADMIN__AUDIT__FILE
  value: /var/lib/penstock/audit/trail.jsonl
- name: PENSTOCK__ADMIN__AUDIT__KEY_FILE
  value: /etc/penstock/secrets/admin/{{ .Values.admin.existingSecret.auditKey }}
{{- if not (dig "admin" "console" "lines" list (default dict .Values.config)) }}
- name: PENSTOCK__ADMIN__CONSOLE__LINES
  value: {{ printf "http://%s:%d" (include "penstock.fullname" .) (int .Values.metrics.port) | quote }}
{{- end }}
{{- with .Values.control.existingSecret }}
{{- if .name }}
- name: PENSTOCK__ADMIN__CONSOLE__CONTROL_KEY_FILE
  value: /etc/penstock/secrets/control/{{ .key }}
{{- end }}
{{- end }}
{{- with .Values.admin.existingSecret.tokenKey }}
- name: PENSTOCK__ADMIN__ACCESS__KEY_FILE
  value: /etc/penstock/secrets/admin/{{ . }}
{{- end }}
{{- with .Values.admin.tls }}
{{- if .existingSecret }}
- name: PENSTOCK__ADMIN__TLS__CERT_FILE
  value: /etc/penstock/secrets/admin-tls/{{ .certKey }}
- name: PENSTOCK__ADMIN__TLS__KEY_FILE
  value: /etc/penstock/secrets/admin-tls/{{ .keyKey }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.adminMounts" -}}
- {name: admin-secret, mountPath: /etc/penstock/secrets/admin, readOnly: true}
{{- if .Values.admin.tls.existingSecret }}
- {name: admin-tls-secret, mountPath: /etc/penstock/secrets/admin-tls, readOnly: true}
{{- end }}
- {name: audit, mountPath: /var/lib/penstock/audit}
{{- end -}}

{{- define "penstock.adminVolumes" -}}
- name: admin-secret
  secret: {secretName: {{ .Values.admin.existingSecret.name }}, defaultMode: 0440}
{{- with .Values.admin.tls.existingSecret }}
- name: admin-tls-secret
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
- name: audit
  persistentVolumeClaim: {claimName: {{ default (printf "%s-audit" (include "penstock.fullname" .)) .Values.admin.audit.existingClaim }}}
{{- end -}}

{{- /* Everything by which a pod of these is replaced. */ -}}
{{- define "penstock.adminSum" -}}
{{- $config := default .Values.existingConfig.checksum (include "penstock.config" .) -}}
{{- printf "%s%s%s%s%s%s" $config (toJson .Values.migrations) (toJson .Values.tables) .Values.kafka.existingSecret.checksum .Values.clickhouse.existingSecret.checksum .Values.control.existingSecret.checksum | sha256sum -}}
{{- end -}}
