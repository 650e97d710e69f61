# What no plan shows of the module and the examples, by file and block:
# - depends_on, and lifecycle without its preconditions;
# - the objects and variables that a block names: a name written out in an object's place is the same value, and nothing waits
#   for it any more; a default written out in a variable's place is the same value until somebody sets it;
# - the settings of terraform and the provider, what the last snapshot is named after, the deployment (of two
#   versions that are one until CodeDeploy moves the alias), the defaults of what the tests set, and what may be null;
# - which resources there are with which arguments: one that no output names is in no plan that is compared, nor is an argument
#   that a mock makes up.

locals {
  files = { for name in concat(sort(fileset("${path.module}/../..", "*.tf")), sort(fileset("${path.module}/../..", "{examples,modules}/*/*.tf"))) : name => file("${path.module}/../../${name}") }

  blocks = { for name, text in local.files : name => {
    for block in regexall("(?m)^(\\w+(?: \"\\w+\")*) \\{\n((?:[^}\n][^\n]*)?(?:\n[^}\n][^\n]*|\n)*)\n\\}", text) : block[0] => block[1]
  } }

  code = { for name, blocks in local.blocks : name => { for block, text in blocks : block => join("\n", [for line in split("\n", text) : line if !startswith(trimspace(line), "#")]) } }

  told = { for name, blocks in local.blocks : name => { for block, text in blocks : block => merge(
    { for number, found in regexall("(?m)depends_on = \\[([^\\]]*)\\]", text) : "depends_on" => regexall("[\\w.]+", found[0]) },
    startswith(block, "output") ? {} : { for names in [sort(distinct(regexall("\\b(?:var(?:\\.\\w+)+|(?:data\\.)?(?:aws|terraform)_\\w+\\.\\w+|module\\.\\w+\\.\\w+)", local.code[name][block])))] : "names" => names if length(names) > 0 },
    { for setting in regexall("(create_before_destroy|ignore_changes|prevent_destroy|replace_triggered_by) += ([^\n]*)", text) : setting[0] => setting[1] },
    length(regexall("^variable", block)) == 0 ? {} : { for setting in regexall("(?m)^  (default|nullable) += ([^\n]*)", text) : setting[0] => setting[1] },
    length(regexall("^(terraform|provider|resource \"terraform_data\"|output \"deployment\")", block)) == 0 ? {} : { settings = join(" ", regexall("[^\\s]+", local.code[name][block])) },
  ) } }

  made = { for name, text in local.files : name => {
    for block in flatten(regexall("(?m)^((?:resource|data|module|check|moved|removed|import)(?: \"\\w+\")*) \\{", text)) :
    block => sort(flatten(regexall("(?m)^  (\\w+)(?: \"\\w+\")?(?: +=| \\{)", try(local.blocks[name][block], ""))))
  } }
}

output "text" {
  description = "By file and block."
  value       = { for name, blocks in local.told : name => { for block, told in blocks : block => told if length(told) > 0 } if anytrue([for told in values(blocks) : length(told) > 0]) }
}

output "made" {
  description = "The arguments of the blocks that make something, by file and block."
  value       = { for name, blocks in local.made : name => blocks if length(blocks) > 0 }
}
