{{- /* Names, labels, sizes and times. Knows nothing of the values' meaning beyond that. */ -}}

{{- define "penstock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "penstock.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "penstock.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "penstock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "penstock.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "penstock.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{ include "penstock.selectorLabels" . }}
{{- end -}}

{{- /* The head of every object: name, namespace, labels, annotations. Takes a dict: root, and where they differ from
the usual ones name, namespace, labels, annotations. */ -}}
{{- define "penstock.metadata" -}}
{{- $root := .root -}}
name: {{ default (include "penstock.fullname" $root) .name }}
namespace: {{ default (include "penstock.namespace" $root) .namespace }}
labels:
  {{- $usual := include "penstock.labels" $root | fromYaml }}
  {{- toYaml (merge (deepCopy (default dict .labels)) $usual) | nindent 2 }}
{{- with merge (deepCopy (default dict .annotations)) (deepCopy $root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* By what names the objects of a pod begin: those of a hook are there before the release's. */ -}}
{{- define "penstock.ownName" -}}
{{- default (include "penstock.fullname" .) .ownName -}}
{{- end -}}

{{- define "penstock.serviceAccountName" -}}
{{- if and .ownName .Values.serviceAccount.create -}}
{{- .ownName -}}
{{- else if .Values.serviceAccount.create -}}
{{- default (include "penstock.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "penstock.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The label `job` of all of this release's series: unique in the cluster, so that rules of two releases do not
mix. */ -}}
{{- define "penstock.job" -}}
{{- printf "%s/%s" (include "penstock.namespace" .) (include "penstock.fullname" .) -}}
{{- end -}}

{{- /* Whether a kind of the Prometheus operator is made. Takes a dict: root, enabled. */ -}}
{{- define "penstock.wantsMonitoring" -}}
{{- if or (eq (toString .enabled) "true") (and (eq (toString .enabled) "auto") (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
yes
{{- end -}}
{{- end -}}

{{- /* A size as penstock writes it (64MiB) or Kubernetes does (1Gi, 500M, 1.5Gi, 1000), in bytes. */ -}}
{{- define "penstock.bytes" -}}
{{- $text := toString . | nospace -}}
{{- $units := dict "" 1 "B" 1 "k" 1000 "kB" 1000 "M" 1000000 "MB" 1000000 "G" 1000000000 "GB" 1000000000 "T" 1000000000000 "Ki" 1024 "KiB" 1024 "Mi" 1048576 "MiB" 1048576 "Gi" 1073741824 "GiB" 1073741824 "Ti" 1099511627776 -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?(e[+][0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- if and $number (hasKey $units $unit) -}}
{{- mulf (float64 $number) (get $units $unit) | int64 -}}
{{- else -}}
0
{{- end -}}
{{- end -}}

{{- /* A span of time as penstock writes it (250ms, 45s, 2m), in milliseconds. */ -}}
{{- define "penstock.milliseconds" -}}
{{- $text := toString . | nospace -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- mul (int64 $number) (get $units (trimPrefix $number $text)) -}}
{{- end -}}

{{- /* What a pod needs at most from the decision to end it until it has said goodbye. */ -}}
{{- define "penstock.graceSeconds" -}}
{{- add .Values.shutdown.preStopSleepSeconds .Values.shutdown.drainSeconds 15 -}}
{{- end -}}

{{- define "penstock.terminationGracePeriodSeconds" -}}
{{- default (include "penstock.graceSeconds" . | int64) (.Values.shutdown.terminationGracePeriodSeconds | int64) -}}
{{- end -}}

{{- /* Pods at least: the number that decides whether a disruption budget makes sense. */ -}}
{{- define "penstock.replicasMin" -}}
{{- if eq .Values.autoscaling.type "none" -}}
{{- .Values.replicaCount -}}
{{- else -}}
{{- .Values.autoscaling.minReplicas -}}
{{- end -}}
{{- end -}}

{{/* Where a runbook is read: `{name}` of the address replaced, or `<name>.md` below it. */}}
{{- define "penstock.runbook" -}}
{{- if contains "{name}" .url -}}
{{- .url | replace "{name}" .name -}}
{{- else -}}
{{- printf "%s/%s.md" (trimSuffix "/" .url) .name -}}
{{- end -}}
{{- end -}}
