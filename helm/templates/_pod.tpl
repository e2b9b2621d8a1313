{{- /* What the pods of the line and the pod of `helm test` have in common. */ -}}

{{- define "penstock.podSpec" -}}
serviceAccountName: {{ include "penstock.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
# A service called clickhouse would otherwise set variables that penstock reads.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "penstock.volumes" . | nindent 2 }}
{{- end -}}

{{- define "penstock.containerHead" -}}
image: {{ include "penstock.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{- define "penstock.containerBasics" -}}
{{ include "penstock.containerHead" . }}
env:
  {{- include "penstock.env" . | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "penstock.volumeMounts" . | nindent 2 }}
{{- end -}}
