"""The Kubernetes manifests: valid for their kinds, whole as a kustomization, and as safe as they say."""

import pathlib
import sys

import kubernetes_validate
import yaml

FOLDER = pathlib.Path(sys.argv[1])
# the oldest and the newest that kubernetes-validate knows of those that are still maintained
VERSIONS = ["1.33", kubernetes_validate.latest_version()]


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def check_pod(name, template, kinds):
    """What a pod refers to is there, and nothing of it runs with rights that it does not need."""
    spec = template["spec"]
    assert ("ServiceAccount", spec["serviceAccountName"]) in kinds, f"{name}: no such service account"
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"], name
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for volume in volumes.values():
        assert "secret" not in volume or ("Secret", volume["secret"]["secretName"]) in kinds, f"{name}: no such secret"
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], name
        assert rights["capabilities"]["drop"] == ["ALL"], name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        assert all(source["configMapRef"]["name"] in names(kinds, "ConfigMap") for source in container["envFrom"]), name
        assert all(mount["name"] in volumes for mount in container["volumeMounts"]), f"{name}: no such volume"
        assert not any("PASSWORD" in variable["name"] for variable in container.get("env", [])), f"{name}: a password"


def names(kinds, kind):
    return {name for found, name in kinds if found == kind}


def check_deployment(name, document, configuration):
    """Probes of a deployment ask at the port that the program listens on; its selector finds its pods."""
    template = document["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert document["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name}: selects no pod of its own"
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    assert configuration["USERPIPE_HEALTH_LISTEN"].endswith(f":{port['containerPort']}"), f"{name}: another port"
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"]), name
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert all(probe["port"] == port["name"] for probe in paths.values()), name
    assert {kind: probe["path"] for kind, probe in paths.items()} == {
        "startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz",
    }, name


def main():
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    listed = set(kustomization["resources"])
    present = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert listed == present, f"kustomization.yaml and the folder differ in {sorted(listed ^ present)}"
    resources = [document for name in kustomization["resources"] for document in documents(FOLDER / name)]
    kinds = {(document["kind"], document["metadata"]["name"]) for document in resources}
    assert len(kinds) == len(resources), "two resources have the same name"
    (configuration,) = [document["data"] for document in resources if document["kind"] == "ConfigMap"]
    deployments = {}
    for document in resources:
        name = f"{document['kind']}/{document['metadata']['name']}"
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == kustomization["namespace"], f"{name}: another namespace"
        if document["kind"] in ("Deployment", "Job"):
            check_pod(name, document["spec"]["template"], kinds)
        if document["kind"] == "Deployment":
            check_deployment(name, document, configuration)
            deployments[document["metadata"]["name"]] = document
    consumers = deployments["userpipe-consume"]["spec"]
    assert consumers["replicas"] <= int(configuration["USERPIPE_PARTITIONS"]), "some consumers would stand idle"
    (budget,) = [document["spec"] for document in resources if document["kind"] == "PodDisruptionBudget"]
    assert budget["selector"] == consumers["selector"], "the disruption budget is not the consumers'"
    print(f"kubernetes: {len(resources)} resources are valid for {' and '.join(VERSIONS)}")


if __name__ == "__main__":
    main()
