"""What Helm makes of the chart: valid, the same each time, and no more than the values say."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from harness.chart import CHART, RELEASE, helm, render, rendered
from supercheck_operator import settings

Raw = dict[str, Any]

NAMESPACE: Final = "supercheck"
SCHEMA: Final[Raw] = json.loads((CHART / "values.schema.json").read_text())
VALUES: Final[Raw] = yaml.safe_load((CHART / "values.yaml").read_text())
EVERYTHING: Final = (
    *("--set=serviceMonitor.enabled=true", "--set=podMonitor.enabled=true"),
    *("--set=prometheusRule.enabled=true", "--set=dashboards.enabled=true"),
    *("--set=networkPolicy.enabled=true", "--set=podDisruptionBudget.enabled=true"),
    *("--set=redis.enabled=true", "--set=redis.host=redis", "--set=redis.existingSecret=redis"),
    *("--set=redis.tls.existingSecret=files", "--set=redis.username=operator"),
    *("--set=redis.tls.certKey=tls.crt", "--set=redis.tls.keyKey=tls.key"),
    *("--set=ingress.enabled=true", "--set=ingress.host=queues.example.com"),
    *("--set=httpRoute.enabled=true", "--set=httpRoute.parentRefs[0].name=gateway"),
    *("--set=rbac.queueViewers[0]=testers", "--set=watchNamespaces={team-a,team-b}"),
    "--set=webhook.clientCA=api-servers",
    *("--set=queues.nightly.runningCapacity=1", "--set=image.digest=sha256:" + 64 * "a"),
)
WITH_REDIS_URL: Final = (
    *("--set=redis.enabled=true", "--set=redis.existingSecret=r", "--set=redis.urlKey=url"),
)
CERT_MANAGER: Final = "--set=certificates.mode=certManager"
OF_OTHERS: Final = ("monitoring.coreos.com", "cert-manager.io", "gateway.networking.k8s.io")
"""Groups whose schemas do not come with Kubernetes."""


def refused(*arguments: str) -> str:
    """Why Helm does not render these values."""
    command = [helm(), "template", RELEASE, str(CHART), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0, f"{arguments} is taken"
    return done.stderr


def find(manifests: list[Raw], kind: str, name: str = RELEASE) -> Raw:
    [found] = [e for e in manifests if e["kind"] == kind and e["metadata"]["name"] == name]
    return found


def container(*arguments: str) -> Raw:
    """The operator's."""
    spec: Raw = find(rendered(*arguments), "Deployment")["spec"]["template"]["spec"]
    [found] = spec["containers"]
    return dict(found)


def leaves(schema: Raw = SCHEMA, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Raw]]:
    """Every value with the schema it has, by its path as ``--set`` names it."""
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield from leaves(child, (*path, name))
        else:
            yield ".".join((*path, name)), child


LEAVES: Final = dict(leaves())


def test_helm_finds_nothing_to_say_about_it() -> None:
    command = [helm(), "lint", "--strict", str(CHART)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("arguments", [(), EVERYTHING, (CERT_MANAGER,)])
def test_two_renders_are_the_same(arguments: tuple[str, ...]) -> None:
    assert render(*arguments) == render(*arguments)


def test_no_template_asks_the_cluster_or_chance() -> None:
    forbidden = re.compile(r"\b(lookup|gen[A-Z]\w+|rand\w*|uuidv4|now|htpasswd|bcrypt)\b")
    for file in (CHART / "templates").rglob("*.*"):
        actions = " ".join(re.findall(r"{{.*?}}", file.read_text(), re.DOTALL))
        assert not forbidden.findall(actions), file.name


@pytest.mark.parametrize("arguments", [(), EVERYTHING, (CERT_MANAGER,)])
def test_every_manifest_is_what_kubernetes_takes(arguments: tuple[str, ...]) -> None:
    checked = 0
    for manifest in rendered(*arguments):
        if not manifest["apiVersion"].startswith(OF_OTHERS):
            kubernetes_validate.validate(manifest, "1.34", strict=True)
            checked += 1
    assert checked > 10


def test_the_definitions_are_those_of_the_project() -> None:
    rendered_by_name = {
        each["metadata"]["name"]: each
        for each in rendered()
        if each["kind"] == "CustomResourceDefinition"
    }
    for file in (CHART.parents[1] / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        found = rendered_by_name.pop(definition["metadata"]["name"])
        assert found["spec"] == definition["spec"]
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not rendered_by_name


def test_definitions_may_be_left_to_others_or_go_with_the_chart() -> None:
    kinds = [each["kind"] for each in rendered("--set=crds.enabled=false")]
    assert "CustomResourceDefinition" not in kinds
    going = [
        each
        for each in rendered("--set=crds.keep=false")
        if each["kind"] == "CustomResourceDefinition"
    ]
    assert len(going) == 2
    assert all("annotations" not in each["metadata"] for each in going)


def test_the_schema_knows_every_value_and_describes_it() -> None:
    def paths(values: Raw, schema: Raw, path: str = "") -> Iterator[str]:
        for name, value in values.items():
            child = schema["properties"][name]
            if "properties" in child:
                yield from paths(value, child, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    assert set(paths(VALUES, SCHEMA)) == set(LEAVES) - {"global"}
    assert not [path for path, schema in LEAVES.items() if not schema.get("description")]


@pytest.mark.parametrize("path", [path for path in LEAVES if path != "global"])
def test_a_typo_in_any_value_is_refused(path: str) -> None:
    parent, _, name = path.rpartition(".")
    typo = f"{parent}.{name}x" if parent else f"{name}x"
    assert f"'{name}x' not allowed" in refused(f"--set={typo}=1")


@pytest.mark.parametrize("path", LEAVES)
def test_a_wrong_type_of_any_value_is_refused(path: str) -> None:
    """A list where there is one thing, a number where there are several, or a name."""
    schema = LEAVES[path]
    takes_a_list = schema.get("type") == "array"
    wrong = "7" if takes_a_list or schema.get("type") == "object" else "[[]]"
    assert f"at '/{path.replace('.', '/')}'" in refused(f"--set-json={path}={wrong}")


@pytest.mark.parametrize(
    "value",
    [
        *("replicas=-1", "runningCapacity=-1", "queuedCapacity=100001", "maxConcurrentTests=0"),
        *("webhook.timeoutSeconds=11", "webhook.timeoutSeconds=0", "webhook.port=65536"),
        *("image.digest=sha256:abc", "image.repository=", "certificates.mode=none"),
        *("queues.big.runningCapacty=1", "queues.big.runningCapacity=-1", "logLevel=loud"),
        *("queues.big.ordering=LIFO", "fullnameOverride=Not_A_Name", "podMonitor.interval=often"),
        *("prometheusRule.runbookBaseUrl=docs/", "testExecutionTimeoutMs=1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(value: str) -> None:
    assert value.partition("=")[0].split(".")[0] in refused(f"--set={value}")


def test_a_queue_may_be_all_that_its_definition_knows_and_nothing_else() -> None:
    definition = yaml.safe_load((CHART / "files" / "crds" / "executionqueues.yaml").read_text())
    [version] = definition["spec"]["versions"]
    known = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert set(SCHEMA["properties"]["queues"]["additionalProperties"]["properties"]) == set(known)
    for name in known:
        assert "not allowed" in refused(f"--set=queues.q.{name}x=1")


def test_a_name_that_no_queue_may_have_is_refused() -> None:
    assert "'Big' does not match" in refused("--set=queues.Big.runningCapacity=1")


def variables(*arguments: str) -> dict[str, str]:
    """Of the operator, without those whose values are somewhere else."""
    return {each["name"]: each["value"] for each in container(*arguments)["env"] if "value" in each}


def mounted(*arguments: str) -> dict[str, tuple[str, list[str]]]:
    """By the folder where it is seen, the name of a Secret and the files that are taken of it."""
    spec = find(rendered(*arguments), "Deployment")["spec"]["template"]["spec"]
    [operator] = spec["containers"]
    secrets = {each["name"]: each["secret"] for each in spec["volumes"] if "secret" in each}
    return {
        mount["mountPath"]: (
            secrets[mount["name"]]["secretName"],
            [f"{e['key']}: {e['path']}" for e in secrets[mount["name"]].get("items", [])],
        )
        for mount in operator["volumeMounts"]
        if mount["name"] in secrets
    }


def test_redis_is_reached_with_a_password_by_file_and_asked_to_prove_who_it_is() -> None:
    said = variables(*EVERYTHING)
    assert {name: value for name, value in said.items() if name.startswith("REDIS_")} == {
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "REDIS_USERNAME": "operator",
        "REDIS_PASSWORD_FILE": "/etc/supercheck/redis/password",
        "REDIS_PREFIX": "supercheck",
        "REDIS_CA_FILE": "/etc/supercheck/redis-tls/ca.crt",
        "REDIS_CERT_FILE": "/etc/supercheck/redis-tls/tls.crt",
        "REDIS_KEY_FILE": "/etc/supercheck/redis-tls/tls.key",
    }
    assert mounted(*EVERYTHING) == {
        "/etc/supercheck/redis": ("redis", ["password: password"]),
        "/etc/supercheck/redis-tls": ("files", []),
    }


def test_what_is_said_of_redis_is_what_the_operator_understands(tmp_path: Path) -> None:
    said = variables(*EVERYTHING) | {"POD_NAMESPACE": NAMESPACE}  # a field of the pod's
    for name in [name for name in said if name.endswith("_FILE")]:
        file = tmp_path / name
        file.write_text("secret")
        said[name] = str(file)
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    made = settings.load(parser.parse_args([]), said)
    address = made.redis_address()
    assert address.hosts == (("redis", 6379),)
    assert address.tls
    assert address.login.username == "operator"


def test_a_url_of_redis_goes_without_host_and_password() -> None:
    arguments = (*WITH_REDIS_URL, "--set=redis.tls.existingSecret=files")
    operator = container(*arguments)
    names = [each["name"] for each in operator["env"] if each["name"].startswith("REDIS_")]
    assert names == ["REDIS_URL", "REDIS_PREFIX", "REDIS_CA_FILE"]
    assert list(mounted(*arguments)) == ["/etc/supercheck/redis-tls"]


def test_only_replicas_that_others_stand_in_for_answer_on_at_their_end() -> None:
    assert variables(*WITH_REDIS)["DRAIN_SECONDS"] == "5"
    assert "DRAIN_SECONDS" not in variables()


@pytest.mark.parametrize(
    ("arguments", "ports"),
    [
        ((), set()),
        (("--set=redis.enabled=true", "--set=redis.host=redis", "--set=redis.port=7000"), {7000}),
        ((*WITH_REDIS_URL, "--set=networkPolicy.redisPorts={6379,26379}"), {6379, 26379}),
    ],
)
def test_a_network_policy_leaves_redis_in_reach(
    arguments: tuple[str, ...], ports: set[int]
) -> None:
    policy = find(rendered("--set=networkPolicy.enabled=true", *arguments), "NetworkPolicy")
    reached = {each["port"] for rule in policy["spec"]["egress"] for each in rule["ports"]}
    assert reached - {443, 6443, 53} == ports


def test_the_largest_numbers_of_a_file_reach_the_operator_as_they_are(tmp_path: Path) -> None:
    """Helm reads those of a file as floating point numbers: 3.1622e+07 is refused at the start."""
    file = tmp_path / "values.yaml"
    largest = {path: schema["maximum"] for path, schema in LEAVES.items() if "maximum" in schema}
    values: Raw = {"redis": {"enabled": True, "host": "redis"}}
    for path, value in largest.items():
        *sections, name = path.split(".")
        section = values
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = value
    values |= {"http": {"port": 1}, "terminationGracePeriodSeconds": 301, "drainSeconds": 300}
    file.write_text(yaml.safe_dump(values))
    assert largest["jobTtlSeconds"] == 31_622_400
    assert not re.findall(r"\de\+\d\d", render(f"--values={file}", CERT_MANAGER))


def test_nothing_leads_into_the_cluster_unless_it_is_asked_for() -> None:
    kinds = {each["kind"] for each in rendered()}
    assert not kinds & {"Ingress", "HTTPRoute"}
    assert find(rendered(), "Service")["spec"]["type"] == "ClusterIP"


def test_an_ingress_leads_one_name_to_the_page_and_never_to_the_webhook() -> None:
    secure = "--set=ingress.tlsSecret=certificate"
    ingress = find(rendered(*WITH_INGRESS, secure, "--set=ingress.className=nginx"), "Ingress")
    [rule] = ingress["spec"]["rules"]
    assert rule["host"] == "queues.example.com"
    assert [(each["path"], each["pathType"]) for each in rule["http"]["paths"]] == [
        *(("/", "Exact"), ("/api", "Prefix"), ("/page", "Prefix")),
        *(("/login", "Exact"), ("/logout", "Exact")),
    ]
    for each in rule["http"]["paths"]:
        assert each["backend"]["service"] == {"name": RELEASE, "port": {"name": "http"}}
    tls = {"hosts": ["queues.example.com"], "secretName": "certificate"}
    assert ingress["spec"]["tls"] == [tls]
    assert ingress["spec"]["ingressClassName"] == "nginx"


def test_a_route_ends_no_stream_and_never_leads_to_the_webhook() -> None:
    route = find(rendered(*WITH_ROUTE, "--set=httpRoute.hostnames[0]=queues.test"), "HTTPRoute")
    [rule] = route["spec"]["rules"]
    service = find(rendered(), "Service")
    [http] = [port for port in service["spec"]["ports"] if port["name"] == "http"]
    assert rule["backendRefs"] == [{"name": RELEASE, "port": http["port"]}]
    assert [(each["path"]["value"], each["path"]["type"]) for each in rule["matches"]] == [
        *(("/", "Exact"), ("/api", "PathPrefix"), ("/page", "PathPrefix")),
        *(("/login", "Exact"), ("/logout", "Exact")),
    ]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert route["spec"]["parentRefs"] == [{"name": "gateway"}]
    assert route["spec"]["hostnames"] == ["queues.test"]


def test_queues_are_seen_by_the_groups_that_are_named_and_by_nobody_else() -> None:
    name = f"{RELEASE}-queues-view"
    bound = [each for each in rendered() if each["kind"] == "ClusterRoleBinding"]
    assert [each["metadata"]["name"] for each in bound] == [RELEASE]
    manifests = rendered("--set=rbac.queueViewers={testers,system:authenticated}")
    [rule] = find(manifests, "ClusterRole", name)["rules"]
    assert (rule["resources"], rule["verbs"]) == (["executionqueues"], ["get", "list", "watch"])
    binding = find(manifests, "ClusterRoleBinding", name)
    assert binding["roleRef"]["name"] == name
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [
        ("Group", "testers"),
        ("Group", "system:authenticated"),
    ]


def test_replicas_are_spread_by_what_the_values_say_of_their_own_labels() -> None:
    said = '[{"topologyKey": "a"}, {"topologyKey": "b", "labelSelector": {"matchLabels": {}}}]'
    spec = find(rendered(f"--set-json=topologySpreadConstraints={said}"), "Deployment")["spec"]
    ours, theirs = spec["template"]["spec"]["topologySpreadConstraints"]
    assert ours == {"topologyKey": "a", "labelSelector": spec["selector"]}
    assert theirs["labelSelector"] == {"matchLabels": {}}


def test_values_of_a_chart_around_it_are_allowed() -> None:
    assert render("--set=global.imageRegistry=x", "--set=global.any.thing=1") == render()


WITH_REDIS: Final = ('--set-json=redis={"enabled": true, "host": "redis", "existingSecret": "r"}',)
WITH_REDIS_TLS: Final = (
    '--set-json=redis={"enabled": true, "host": "redis", "tls": {"existingSecret": "r",'
    ' "certKey": "a", "keyKey": "b"}}',
)
WITH_INGRESS: Final = ('--set-json=ingress={"enabled": true, "host": "queues.example.com"}',)
WITH_ROUTE: Final = ('--set-json=httpRoute={"enabled": true, "parentRefs": [{"name": "gateway"}]}',)
AROUND: Final = {
    "redis.enabled": ('--set-json=redis={"host": "redis"}',),
    **dict.fromkeys(("redis.host", "redis.port", "redis.existingSecret"), WITH_REDIS),
    **dict.fromkeys(("redis.passwordKey", "redis.urlKey"), WITH_REDIS),
    **dict.fromkeys(("redis.username", "redis.prefix", "drainSeconds"), WITH_REDIS),
    "redis.tls.existingSecret": WITH_REDIS,
    "networkPolicy.redisPorts": (*WITH_REDIS, "--set=networkPolicy.enabled=true"),
    **dict.fromkeys(("redis.tls.caKey", "redis.tls.certKey", "redis.tls.keyKey"), WITH_REDIS_TLS),
    "ingress.enabled": ("--set=ingress.host=queues.example.com",),
    **{path: WITH_INGRESS for path in LEAVES if re.match(r"ingress\.(?!enabled)", path)},
    "httpRoute.enabled": ("--set=httpRoute.parentRefs[0].name=gateway",),
    **{path: WITH_ROUTE for path in LEAVES if re.match(r"httpRoute\.(?!enabled)", path)},
    "certificates.certManager.issuerRef": (CERT_MANAGER,),
}
"""What else must be said for a value to matter; a section's ``enabled`` goes without saying."""
OTHER: Final = {
    "image.digest": '"sha256:' + 64 * "a" + '"',
    "replicas": "0",
    "webhook.matchConditions": '[{"name": "a", "expression": "true"}]',
    "podDisruptionBudget.maxUnavailable": "2",
    "prometheusRule.runbookBaseUrl": '"https://example.com/runbooks"',
    "imagePullSecrets": '[{"name": "other"}]',
    "extraObjects": '[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o"}}]',
    "podSecurityContext": '{"runAsUser": 1}',
    "securityContext": '{"runAsUser": 1}',
    "resources": '{"limits": {"cpu": "2"}}',
    "queues": '{"other": {}}',
    "watchNamespaces": '["team-a"]',
    "networkPolicy.redisPorts": "[7000]",
    "webhook.timeoutSeconds": "5",
}


def _other(path: str, schema: Raw) -> str:
    """A value that is not the default, as JSON."""
    default: Any = VALUES
    for part in path.split("."):
        default = default[part]
    if path in OTHER:
        return OTHER[path]
    if "enum" in schema:
        return json.dumps(next(each for each in schema["enum"] if each != default))
    kinds = {
        "boolean": not default,
        "integer": default + 1 if isinstance(default, int) else 0,
        "string": "45s" if path.endswith("interval") else "other",
        "object": {"other": "other"},
        "array": ["other"] if schema.get("items", {}).get("type") == "string" else [{"a": "b"}],
    }
    return json.dumps(kinds[schema["type"]])


@pytest.mark.parametrize("path", [path for path in LEAVES if path != "global"])
def test_every_value_makes_a_difference(path: str) -> None:
    section, _, name = path.rpartition(".")
    enabled = f"{section}.enabled" in LEAVES and name != "enabled"
    around = AROUND.get(path, (f"--set={section}.enabled=true",) if enabled else ())
    value = f"--set-json={path}={_other(path, LEAVES[path])}"
    assert render(*around, value) != render(*around)


def test_replicas_without_redis_are_refused_with_a_sentence() -> None:
    told = refused("--set=replicas=2")
    assert "replicas is 2, but without Redis each replica would count capacity for itself" in told
    with_redis = ("--set=replicas=2", "--set=redis.enabled=true", "--set=redis.host=redis")
    assert find(rendered(*with_redis), "Deployment")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--set=redis.enabled=true",), "set redis.host, or redis.existingSecret and redis.urlKey"),
        (
            ("--set=redis.enabled=true", "--set=redis.urlKey=url"),
            "of no Secret: set redis.existingSecret",
        ),
        (
            (*WITH_REDIS_URL, "--set=networkPolicy.enabled=true"),
            "only the URL in the Secret says: set networkPolicy.redisPorts",
        ),
        (("--set=http.port=9443",), "webhook.port and http.port must differ"),
        (("--namespace=x", "--set=watchNamespaces={a,x}"), "watchNamespaces has x, the operator's"),
        (("--set=redis.tls.certKey=tls.crt",), "certKey and redis.tls.keyKey belong together"),
        (
            (*WITH_REDIS, "--set=drainSeconds=30"),
            "drainSeconds must be less than terminationGracePeriodSeconds",
        ),
        (("--set=ingress.enabled=true",), "for which name: set ingress.host"),
        (("--set=httpRoute.enabled=true",), "to no Gateway: set httpRoute.parentRefs"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_a_sentence(
    arguments: tuple[str, ...], told: str
) -> None:
    assert told in refused(*arguments)


@pytest.mark.parametrize("arguments", [(), EVERYTHING, (CERT_MANAGER,)])
def test_the_webhook_stands_in_the_way_of_new_executions_only(arguments: tuple[str, ...]) -> None:
    configuration = find(rendered(*arguments), "ValidatingWebhookConfiguration")
    [webhook] = configuration["webhooks"]
    [rule] = webhook["rules"]
    assert rule["apiGroups"] == ["supercheck.io"]
    assert rule["resources"] == ["testexecutions"]
    assert rule["operations"] == ["CREATE"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["sideEffects"] == "NoneOnDryRun"
    assert webhook["timeoutSeconds"] <= 10
    assert "caBundle" not in json.dumps(configuration)
    name, *_, opt_out = webhook["namespaceSelector"]["matchExpressions"]
    assert (name["operator"], name["values"]) == ("NotIn", ["kube-system", NAMESPACE])
    assert (opt_out["operator"], opt_out["key"]) == ("NotIn", "supercheck.io/admission")
    assert "testexecutions" in webhook["matchConditions"][0]["expression"]


@pytest.mark.parametrize("arguments", [(), EVERYTHING, (CERT_MANAGER,)])
def test_pods_are_of_the_restricted_level(arguments: tuple[str, ...]) -> None:
    manifests = rendered(*arguments)
    test = find(manifests, "Pod", f"{RELEASE}-test")
    for pod in (find(manifests, "Deployment")["spec"]["template"], test):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [only] = spec["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in only["resources"]["limits"]
        assert not spec.get("hostNetwork")
        kinds = {next(k for k in volume if k != "name") for volume in spec.get("volumes", [])}
        assert kinds <= {"emptyDir", "secret", "configMap"}


def test_rights_are_by_name_where_they_can_be_and_no_secret_is_listed() -> None:
    rules = [
        rule
        for each in rendered(*EVERYTHING)
        if each["kind"] in ("Role", "ClusterRole")
        for rule in each["rules"]
    ]
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        if {"secrets", "validatingwebhookconfigurations"} & set(rule["resources"]):
            assert rule["verbs"] == ["get", "patch"]
            assert rule["resourceNames"]


def test_in_chosen_namespaces_the_operator_has_its_rights_there_only_and_judges_there_only() -> (
    None
):
    manifests = rendered("--set=watchNamespaces={team-a,team-b}")
    everywhere = find(rendered(), "ClusterRole")["rules"]
    cluster = find(manifests, "ClusterRole")["rules"]
    of_executions = [rule for rule in everywhere if rule not in cluster]
    assert {resource for rule in of_executions for resource in rule["resources"]} == {
        *("testexecutions", "testexecutions/status", "jobs", "pods", "events", "configmaps"),
    }
    for kind in ("Role", "RoleBinding"):
        there = {e["metadata"]["namespace"]: e for e in manifests if e["kind"] == kind}
        assert set(there) == {NAMESPACE, "team-a", "team-b"}
        if kind == "Role":
            assert there["team-a"]["rules"] == there["team-b"]["rules"] == of_executions
    [webhook] = find(manifests, "ValidatingWebhookConfiguration")["webhooks"]
    _, watched, _ = webhook["namespaceSelector"]["matchExpressions"]
    assert (watched["operator"], watched["values"]) == ("In", ["team-a", "team-b"])
    said = variables("--set=watchNamespaces={team-a,team-b}")
    assert said["WATCH_NAMESPACES"] == "team-a,team-b"


def test_with_cert_manager_the_operator_needs_neither_secrets_nor_the_configuration() -> None:
    manifests = rendered(CERT_MANAGER)
    text = json.dumps([each for each in manifests if each["kind"] in ("Role", "ClusterRole")])
    assert "secrets" not in text
    assert "validatingwebhookconfigurations" not in text
    assert "Secret" not in [each["kind"] for each in manifests]
    certificate = find(manifests, "Certificate", f"{RELEASE}-webhook")
    assert certificate["spec"]["dnsNames"] == [f"{RELEASE}.{NAMESPACE}.svc"]
    assert certificate["spec"]["duration"] == "2160h"
    assert certificate["spec"]["renewBefore"] == "720h"
    configuration = find(manifests, "ValidatingWebhookConfiguration")
    assert configuration["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": f"{NAMESPACE}/{RELEASE}-webhook"
    }


def test_cert_manager_is_asked_for_an_authority_that_signs_what_the_webhook_serves() -> None:
    manifests = rendered(CERT_MANAGER)
    leaf = find(manifests, "Certificate", f"{RELEASE}-webhook")["spec"]
    issuer = find(manifests, "Issuer", leaf["issuerRef"]["name"])["spec"]
    authority = find(manifests, "Certificate", issuer["ca"]["secretName"])["spec"]
    assert authority["isCA"] is True
    assert authority["secretName"] == issuer["ca"]["secretName"] != leaf["secretName"]
    root = find(manifests, "Issuer", authority["issuerRef"]["name"])["spec"]
    assert root == {"selfSigned": {}}
    folder = "/var/run/supercheck/certificates"
    assert mounted(CERT_MANAGER) == {folder: (leaf["secretName"], [])}
    assert f"--webhook-certificates={folder}" in container(CERT_MANAGER)["args"]


def test_an_issuer_of_the_cluster_takes_the_place_of_ours() -> None:
    named = '{"kind": "ClusterIssuer", "name": "company"}'
    manifests = rendered(CERT_MANAGER, f"--set-json=certificates.certManager.issuerRef={named}")
    [leaf] = [each for each in manifests if each["kind"] == "Certificate"]
    assert leaf["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "company"}
    assert "Issuer" not in [each["kind"] for each in manifests]


def test_the_secret_is_rendered_empty() -> None:
    secret = find(rendered(), "Secret", f"{RELEASE}-webhook")
    assert "data" not in secret
    assert "stringData" not in secret


def test_users_get_their_rights_by_the_roles_they_have() -> None:
    manifests = rendered()
    view, edit = (find(manifests, "ClusterRole", f"{RELEASE}-{role}") for role in ("view", "edit"))
    for role, name in ((view, "view"), (edit, "edit")):
        label = f"rbac.authorization.k8s.io/aggregate-to-{name}"
        assert role["metadata"]["labels"][label] == "true"
    assert view["rules"][0]["verbs"] == ["get", "list", "watch"]
    assert "status" not in json.dumps(edit["rules"])


def test_queues_are_declared_to_the_operator() -> None:
    manifests = rendered(
        "--set=queues.nightly.runningCapacity=2", "--set=queues.nightly.ordering=FairShare"
    )
    declared = find(manifests, "ConfigMap", f"{RELEASE}-queues")["data"]["queues.yaml"]
    [queue] = [each for each in yaml.safe_load_all(declared) if each]
    assert queue["metadata"]["name"] == "nightly"
    assert queue["spec"] == {"runningCapacity": 2, "ordering": "FairShare"}
    operator = container("--set=queues.nightly.runningCapacity=2")
    assert "--queues=/etc/supercheck/queues/queues.yaml" in operator["args"]


def test_every_flag_and_variable_is_one_that_the_operator_takes() -> None:
    """Both ways: what a newer operator takes, and the chart does not say, is told here."""
    flags, variables = set(settings._FLAGS.values()), set(settings._VARIABLES.values())
    said_flags, said_variables = set(), set()
    for arguments in (EVERYTHING, (CERT_MANAGER,)):
        operator = container(*arguments)
        said_flags |= {argument.partition("=")[0] for argument in operator["args"][1:]}
        said_variables |= {each["name"] for each in operator["env"]}
    assert said_flags - flags == set()
    assert flags - said_flags == {"--components", "--context", "--kubeconfig", "--ledger"}
    assert variables - said_variables == set()
    assert {name for name in said_variables - variables if not name.startswith("REDIS_")} == set()


def test_an_authority_of_clients_is_read_from_a_config_map() -> None:
    assert "WEBHOOK_CLIENT_CA_FILE" not in {each["name"] for each in container()["env"]}
    arguments = ("--set=webhook.clientCA=api-servers",)
    operator = container(*arguments)
    [said] = [each for each in operator["env"] if each["name"] == "WEBHOOK_CLIENT_CA_FILE"]
    [mount] = [each for each in operator["volumeMounts"] if each["name"] == "clients"]
    assert said["value"] == f"{mount['mountPath']}/ca.crt"
    spec = find(rendered(*arguments), "Deployment")["spec"]["template"]["spec"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "clients"]
    assert volume["configMap"]["name"] == "api-servers"


def test_an_image_is_named_by_its_digest_where_one_is_given() -> None:
    operator = container(*EVERYTHING)
    assert operator["image"].endswith("@sha256:" + 64 * "a")


def test_versions_of_chart_image_and_package_are_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    containerfile = (CHART.parents[1] / "Containerfile").read_text()
    assert f'version = "{chart["appVersion"]}"' in project
    assert f"ARG VERSION={chart['appVersion']}" in containerfile
    assert chart["version"] == chart["appVersion"]
