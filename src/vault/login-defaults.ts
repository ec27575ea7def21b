/** What Kubernetes mounts into a pod. */
export const serviceAccountTokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token';
