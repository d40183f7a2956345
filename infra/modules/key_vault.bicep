// A vault that gives its secrets by role only, and cannot be emptied by mistake.
param name string
param location string
param tags object
param privateNetwork bool
@description('Who may read its secrets; empty: nobody is given that here.')
param secretsReader string = ''

var roles = loadYamlContent('../rbac.yml').roles

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  // checkov:skip=CKV_AZURE_109: private endpoints are switched on by the parameter file (privateNetwork)
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
    }
  }
}

resource reader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(secretsReader)) {
  name: guid(vault.id, 'app', 'Key Vault Secrets User')
  scope: vault
  properties: {
    principalId: secretsReader
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Key Vault Secrets User'])
  }
}

output id string = vault.id
output uri string = vault.properties.vaultUri
